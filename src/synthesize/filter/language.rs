//! The language of a text, where it is sure: a script that the wanted language is not written in, or another language by far
//! likelier. Short texts are not judged by their letters' frequencies: those of one language look like another's.

use crate::error::{Error, Result};
use whatlang::{Detector, Lang, Script, detect, detect_script};

/// Letters from which on a script tells, and a language: of the whole text, and of its words without a capital. Of 2,896
/// recorded English texts of that length 4 are taken for another language, and 2,800 are told from German.
const SCRIPT_LETTERS: usize = 6;
const LANGUAGE_LETTERS: usize = 60;
const PLAIN_LETTERS: usize = 40;

/// The codes of ISO 639-1, and those of ISO 639-3 that stand for them.
const TWO_LETTERS: [(&str, Lang); 70] = [
    ("af", Lang::Afr),
    ("ak", Lang::Aka),
    ("am", Lang::Amh),
    ("ar", Lang::Ara),
    ("az", Lang::Aze),
    ("be", Lang::Bel),
    ("bg", Lang::Bul),
    ("bn", Lang::Ben),
    ("ca", Lang::Cat),
    ("cs", Lang::Ces),
    ("cy", Lang::Cym),
    ("da", Lang::Dan),
    ("de", Lang::Deu),
    ("el", Lang::Ell),
    ("en", Lang::Eng),
    ("eo", Lang::Epo),
    ("es", Lang::Spa),
    ("et", Lang::Est),
    ("fa", Lang::Pes),
    ("fi", Lang::Fin),
    ("fr", Lang::Fra),
    ("gu", Lang::Guj),
    ("he", Lang::Heb),
    ("hi", Lang::Hin),
    ("hr", Lang::Hrv),
    ("hu", Lang::Hun),
    ("hy", Lang::Hye),
    ("id", Lang::Ind),
    ("it", Lang::Ita),
    ("ja", Lang::Jpn),
    ("jv", Lang::Jav),
    ("ka", Lang::Kat),
    ("km", Lang::Khm),
    ("kn", Lang::Kan),
    ("ko", Lang::Kor),
    ("la", Lang::Lat),
    ("lt", Lang::Lit),
    ("lv", Lang::Lav),
    ("mk", Lang::Mkd),
    ("ml", Lang::Mal),
    ("mr", Lang::Mar),
    ("my", Lang::Mya),
    ("nb", Lang::Nob),
    ("ne", Lang::Nep),
    ("nl", Lang::Nld),
    ("no", Lang::Nob),
    ("or", Lang::Ori),
    ("pa", Lang::Pan),
    ("pl", Lang::Pol),
    ("pt", Lang::Por),
    ("ro", Lang::Ron),
    ("ru", Lang::Rus),
    ("si", Lang::Sin),
    ("sk", Lang::Slk),
    ("sl", Lang::Slv),
    ("sn", Lang::Sna),
    ("sr", Lang::Srp),
    ("sv", Lang::Swe),
    ("ta", Lang::Tam),
    ("te", Lang::Tel),
    ("th", Lang::Tha),
    ("tk", Lang::Tuk),
    ("tl", Lang::Tgl),
    ("tr", Lang::Tur),
    ("uk", Lang::Ukr),
    ("ur", Lang::Urd),
    ("uz", Lang::Uzb),
    ("vi", Lang::Vie),
    ("zh", Lang::Cmn),
    ("zu", Lang::Zul),
];

/// Letters of a text; one of Chinese, Japanese or Korean says as much as three of an alphabet.
fn weight(text: &str) -> usize {
    text.chars().filter(|c| c.is_alphabetic()).map(|c| if c >= '\u{2e80}' { 3 } else { 1 }).sum()
}

/// A language that texts are to be in.
pub(super) struct Language(Lang);

impl Language {
    /// The language of a code, of two letters or three, with or without a region (`pt-BR`); none: any, of the empty one.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for a code that is not known.
    pub(super) fn of(code: &str) -> Result<Option<Language>> {
        let bare = code.trim().to_lowercase();
        let bare = bare.split(['-', '_']).next().unwrap_or("");
        if code.trim().is_empty() {
            return Ok(None);
        }
        let two = TWO_LETTERS.iter().find(|(two, _)| *two == bare).map(|(_, lang)| *lang);
        match two.or_else(|| Lang::from_code(bare)) {
            Some(lang) => Ok(Some(Language(lang))),
            None => {
                let known: Vec<&str> = TWO_LETTERS.iter().map(|(two, _)| *two).collect();
                Err(Error::invalid(format!(
                    "synthesize.language = {code:?}: no language whose code is known; known are {} and their codes of three letters",
                    known.join(" ")
                )))
            }
        }
    }

    /// Whether the text is surely in another language: as it is, and without what is capitalised, for names look like
    /// another language more often than anything else does.
    pub(super) fn is_not_of(&self, text: &str) -> bool {
        let Some(script) = detect_script(text).filter(|_| weight(text) >= SCRIPT_LETTERS) else { return false };
        if !self.is_written_in(script) {
            // Titles and names in Latin letters may be longer than what is said around them.
            let own = |c: &char| {
                let script = detect_script(c.encode_utf8(&mut [0; 4]));
                c.is_alphabetic() && script.is_some_and(|script| self.is_written_in(script))
            };
            let said = || weight(&text.chars().filter(own).collect::<String>());
            return script != Script::Latin || said() < SCRIPT_LETTERS;
        }
        if self.0 == Lang::Srp && script == Script::Latin {
            // The detector knows it in Cyrillic letters only.
            return false;
        }
        let capital = |word: &&str| word.chars().find(|c| c.is_alphabetic()).is_some_and(char::is_uppercase);
        let plain: Vec<&str> = text.split_whitespace().filter(|word| !capital(word)).collect();
        let plain = plain.join(" ");
        weight(text) >= LANGUAGE_LETTERS
            && weight(&plain) >= PLAIN_LETTERS
            && self.is_unlikely(text)
            && self.is_unlikely(&plain)
    }

    /// Whether another language is far likelier. The two are compared alone: that a third one is near as well does not make
    /// it the wanted one.
    fn is_unlikely(&self, text: &str) -> bool {
        let Some(likeliest) = detect(text).map(|found| found.lang()).filter(|lang| *lang != self.0) else {
            return false;
        };
        let two = Detector::with_allowlist(vec![likeliest, self.0]).detect(text);
        two.is_some_and(|two| two.lang() == likeliest && two.is_reliable())
    }

    fn is_written_in(&self, script: Script) -> bool {
        // Japanese is in three scripts, the two kana among them.
        let japanese = self.0 == Lang::Jpn && matches!(script, Script::Mandarin | Script::Hiragana | Script::Katakana);
        // Serbian is written in Latin letters too, and so are Hindi and its neighbours in chats: only the script of the
        // language's own is sure to tell one of the others from it.
        japanese || script.langs().contains(&self.0) || self.0 == Lang::Srp && script == Script::Latin
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_dropped(code: &str, text: &str) -> bool {
        Language::of(code).unwrap().unwrap().is_not_of(text)
    }

    /// The sentences are of the test's own making.
    const SAID: [(&str, &str); 8] = [
        ("en", "I am looking for a quiet film about two brothers who run a small farm, nothing too sad please."),
        (
            "de",
            "Ich suche einen ruhigen Film über zwei Brüder, die einen kleinen Hof bewirtschaften, bitte nicht zu traurig.",
        ),
        (
            "fr",
            "Je cherche un film tranquille sur deux frères qui tiennent une petite ferme, rien de trop triste s'il te plaît.",
        ),
        (
            "es",
            "Busco una película tranquila sobre dos hermanos que llevan una pequeña granja, nada demasiado triste por favor.",
        ),
        ("ru", "Ищу спокойный фильм о двух братьях, которые держат небольшую ферму, только не слишком грустный."),
        ("zh", "我想找一部关于两个兄弟经营小农场的安静电影，请不要太悲伤。"),
        ("ja", "小さな農場を営む二人の兄弟についての静かな映画を探しています。悲しすぎないものをお願いします。"),
        ("ko", "작은 농장을 운영하는 두 형제에 관한 조용한 영화를 찾고 있어요. 너무 슬프지 않은 걸로 부탁해요."),
    ];

    #[test]
    fn whole_sentences_are_told_apart() {
        for (code, _) in SAID {
            for (other, text) in SAID {
                assert_eq!(is_dropped(code, text), code != other, "{code} of {other}: {text}");
            }
        }
    }

    #[test]
    fn short_texts_in_the_same_letters_are_not_judged() {
        for text in ["Amélie?", "Hola, una comedia", "Bonjour, un film drôle", "hi there", "!!!", ""] {
            assert!(!is_dropped("en", text), "{text}");
        }
        assert!(is_dropped("en", "Посоветуй комедию"), "another script is sure");
    }

    /// What people said to recommenders in English: next to nothing of it is taken for something else, and most of what is long
    /// enough to be judged is told from German.
    #[test]
    fn recorded_english_is_english_and_mostly_no_german() {
        let Some(path) = crate::testing::shared("data/conversations/redial_train.jsonl") else { return };
        let conversations = crate::dataset::load_conversations(&path, 0).unwrap();
        let said = |c: &crate::dataset::Conversation| {
            let turns = c.turns.iter().filter(|turn| turn.role == crate::dataset::Role::User);
            turns.map(|turn| turn.text.as_str()).collect::<Vec<_>>().join("\n")
        };
        let texts: Vec<String> = conversations.iter().map(said).filter(|text| text.len() >= 80).collect();
        let dropped = |code: &str| texts.iter().filter(|text| is_dropped(code, text)).count();
        let (english, german) = (dropped("en"), dropped("de"));
        println!("{} texts; not of en {english}, not of de {german}", texts.len());
        assert!(
            texts.len() > 2000 && english * 500 < texts.len() && german * 10 > texts.len() * 9,
            "{english} {german}"
        );
    }

    /// Requests that name a film by its Latin title were dropped, and all of Serbian in Latin letters.
    #[test]
    fn a_title_in_another_script_is_no_other_language() {
        assert!(!is_dropped("zh", "我想看像The Shawshank Redemption和The Green Mile那样的电影"));
        assert!(!is_dropped("ja", "Guardians of the Galaxyが好きです、似た作品を教えてください"));
        assert!(!is_dropped("sr", "Tražim miran film o dva brata koji vode malu farmu, ali da ne bude previše tužan."));
        assert!(is_dropped("zh", "I am looking for a quiet film about two brothers who run a small farm, please."));
    }

    #[test]
    fn codes_are_of_two_letters_or_three_and_others_are_refused() {
        for code in ["en", "ENG", "en-GB", " en "] {
            assert!(!is_dropped(code, SAID[0].1), "{code}");
        }
        assert!(Language::of("").unwrap().is_none());
        let e = Language::of("english").err().unwrap();
        assert!(e.message().contains("synthesize.language = \"english\""), "{e}");
        // Every language that the detector knows can be named, but Yiddish by two letters.
        for lang in Lang::all() {
            assert!(Language::of(lang.code()).is_ok());
            assert!(*lang == Lang::Yid || TWO_LETTERS.iter().any(|(_, known)| known == lang), "{lang:?}");
        }
    }
}
