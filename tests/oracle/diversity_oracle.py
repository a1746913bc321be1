"""Reference values of distinct-n and self-BLEU, in plain Python from their definitions.

    python3 tests/oracle/diversity_oracle.py > tests/oracle/diversity.json

distinct-n (Li et al., 2016): different n-grams over all n-grams of a set of turns; an n-gram lies within a turn.
self-BLEU (Zhu et al., 2018): the mean over turns of BLEU-4 (Papineni et al., 2002) of a turn against all others, with
uniform weights, the closest length of a reference in the brevity penalty (the shorter of two equally close), and
smoothing method 1 of Chen and Cherry (2014): 0.1 in place of a precision's numerator that is 0. As NLTK computes it: a
turn that has no n-gram of some order counts as having one, and without a single matching word BLEU is 0.

The turns are made by a linear congruence, so that they need no file.
"""
import json
import math
from collections import Counter

WORDS = "a film about the sea with my father and no war please something quiet funny like that one again tonight".split()


def turns(count):
    state, out = 7, []
    for _ in range(count):
        turn = []
        state = (state * 1103515245 + 12345) % 2**31
        for _ in range(1 + (state >> 16) % 12):
            state = (state * 1103515245 + 12345) % 2**31
            turn.append(WORDS[(state >> 16) % len(WORDS)])
        out.append(turn)
    # One turn twice, and one of words that no other has.
    return out + [out[0], "totally unheard of".split()]


def ngrams(turn, n):
    return [tuple(turn[i:i + n]) for i in range(len(turn) - n + 1)]


def distinct(turns, n):
    grams = [g for turn in turns for g in ngrams(turn, n)]
    return len(set(grams)) / len(grams)


def bleu(hypothesis, references):
    precisions = []
    for n in range(1, 5):
        counts = Counter(ngrams(hypothesis, n))
        best = Counter()
        for reference in references:
            best |= Counter(ngrams(reference, n))
        matched = sum(min(count, best[gram]) for gram, count in counts.items())
        if n == 1 and matched == 0:
            return 0.0
        precisions.append((matched or 0.1) / max(1, sum(counts.values())))
    length = len(hypothesis)
    closest = min((abs(len(r) - length), len(r)) for r in references)[1]
    brevity = 1.0 if length > closest else math.exp(1 - closest / length)
    return brevity * math.exp(sum(0.25 * math.log(p) for p in precisions))


def self_bleu(turns):
    return sum(bleu(turn, turns[:i] + turns[i + 1:]) for i, turn in enumerate(turns)) / len(turns)


made = turns(60)
print(json.dumps({"turns": [" ".join(turn) for turn in made], "distinct_1": distinct(made, 1),
                  "distinct_2": distinct(made, 2), "self_bleu": self_bleu(made)}))
