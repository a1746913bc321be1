use super::entry::first_year;
use super::*;
use proptest::prelude::*;
use serde_json::Value;

fn titles(answer: &str) -> Vec<String> {
    parse_titles(answer).into_iter().map(|p| p.year.map_or(p.title.clone(), |y| format!("{} @{y}", p.title))).collect()
}

#[test]
fn every_shape_of_list_gives_the_same_two_titles() {
    let shapes = [
        "1. Alien (1979)\n2. The Thing (1982)",
        "1) Alien (1979)\n2) The Thing (1982)",
        "(1) Alien (1979)\n(2) The Thing (1982)",
        "[1] Alien (1979)\n[2] The Thing (1982)",
        "#1: Alien (1979)\n#2: The Thing (1982)",
        "1: Alien (1979)\n2: The Thing (1982)",
        "1 - Alien (1979)\n2 - The Thing (1982)",
        "1.\"Alien\" (1979)\n2.\"The Thing\" (1982)",
        "- Alien (1979)\n- The Thing (1982)",
        "* Alien (1979)\n* The Thing (1982)",
        "• Alien (1979)\n• The Thing (1982)",
        "1. **Alien** (1979)\n2. **The Thing** (1982)",
        "**1. Alien** (1979)\n**2. The Thing** (1982)",
        "**1.** Alien (1979)\n**2.** The Thing (1982)",
        "1. **Alien (1979)**: why not\n2. **The Thing (1982)**: cold and strange",
        "1. **\"Alien\" (1979)** - a crew\n2. **\"The Thing\" (1982)** - a camp",
        "1. *Alien* (1979)\n2. _The Thing_ (1982)",
        "1. “Alien” (1979)\n2. “The Thing” (1982)",
        "1. 'Alien' (1979)\n2. ‘The Thing’ (1982)",
        "1. «Alien» (1979)\n2. «The Thing» (1982)",
        "1. Alien (1979) - a crew meets something\n2. The Thing (1982) – a camp in the ice",
        "1. Alien (1979): a crew meets something\n2. The Thing (1982): a camp in the ice",
        "1. Alien (1979) directed by Ridley Scott\n2. The Thing (1982), directed by John Carpenter",
        "1. Alien, 1979\n2. The Thing, 1982",
        "1. Alien [1979]\n2. The Thing (1982 film)",
        "1. [Alien](http://a.b/c) (1979)\n2. [The Thing (1982)](http://a.b/d)",
        "Sure! Here are some films:\n\n1. Alien (1979)\n2. The Thing (1982)\n\nEnjoy the evening! Let me know what you think.",
        "Here you go:\nAlien (1979)\nThe Thing (1982)",
        "Alien (1979), The Thing (1982)",
        "Alien (1979); The Thing (1982); ",
        "1. Alien (1979) 2. The Thing (1982)",
        "I would suggest \"Alien (1979)\" and \"The Thing (1982)\".",
        "```\n1. Alien (1979)\n2. The Thing (1982)\n```",
        "```json\n[\"Alien (1979)\", \"The Thing (1982)\"]\n```",
        "Here: [\"Alien (1979)\", \"The Thing (1982)\"] Enjoy!",
        "[\"1. Alien (1979)\", \"2. The Thing (1982)\"",
        "[{\"title\": \"Alien\", \"year\": 1979}, {\"Title\": \"The Thing\", \"year\": \"1982\", \"genres\": [\"horror\"]}]",
        "{\"movies\": [{\"name\": \"Alien\", \"year\": 1979}, {\"name\": \"The Thing\", \"year\": 1982}]}",
        "[{\"title\": \"Alien\", \"year\": 1979}, {\"title\": \"The Thing\", \"year\": 1982}, {\"title\": \"The Fl",
        "{\"title\": \"Alien\", \"year\": 1979}\n{\"title\": \"The Thing\", \"year\": 1982}",
        "| # | Title | Year |\n|---|-------|------|\n| 1 | Alien | 1979 |\n| 2 | The Thing | 1982 |",
        "1. Alien (1979)\n   - A crew meets something.\n2. The Thing (1982)\n   - A camp in the ice.",
        "1. Horror:\n   - Alien (1979)\n   - The Thing (1982)\n   - ",
    ];
    for shape in shapes {
        assert_eq!(titles(shape), ["Alien @1979", "The Thing @1982"], "{shape}");
    }
}

/// Each of these gave no title of the catalogue, or a wrong first one.
#[test]
fn shapes_that_were_not_read_give_their_two_titles() {
    let shapes = [
        "### 1. Alien (1979)\nA crew meets something.\n\n### 2. The Thing (1982)\nA camp.",
        "## 1. Alien (1979)\n1. first reason\n2. second reason\n## 2. The Thing (1982)\n1. first reason",
        "# Recommendations\n## Alien (1979)\nA crew meets something.\n## The Thing (1982)\nA camp in the ice.",
        "## My picks\n### Alien (1979)\n- A crew meets something.\n- It is tense from the start.\n### The Thing (1982)\n- A camp in the ice.",
        "1\\. Alien (1979)\n2\\. The Thing (1982)",
        "1\\) Alien (1979)\n2\\) The Thing (1982)",
        "1、Alien（1979）\n2、The Thing（1982）",
        "１．Alien（1979）\n２．The Thing（1982）",
        "1）Alien（1979年）\n2）The Thing（1982年）",
        "（1）Alien（1979）\n（2）The Thing（1982）",
        "【1】Alien（1979）\n【2】The Thing（1982）",
        "1️⃣ Alien (1979)\n2️⃣ The Thing (1982)",
        "1\u{20e3} Alien (1979)\n2\u{20e3} The Thing (1982)",
        "① Alien (1979)\n② The Thing (1982)",
        "🥇 Alien (1979)\n🥈 The Thing (1982)",
        "1. 《Alien》（1979）：太空里的恐怖故事\n2. 《The Thing》（1982）：冰原",
        "1. 「Alien」(1979)\n2. 「The Thing」(1982)",
        "1. 『Alien』（1979年）\n2. 『The Thing』（1982年）",
        "1. 【Alien】(1979)\n2. 【The Thing】(1982)",
        "1. „Alien“ (1979)\n2. „The Thing“ (1982)",
        "1. Title: Alien (1979)\n2. Title: The Thing (1982)",
        "1. **Title:** Alien - **Year:** 1979\n2. **Title:** The Thing - **Year:** 1982",
        "1. **Title**: Alien, **Year**: 1979, **Genre**: horror\n2. **Title**: The Thing, **Year**: 1982",
        "1. Movie: Alien (1979)\n   Reason: It is tense.\n2. Movie: The Thing (1982)\n   Reason: It is cold.",
        "Movie: Alien\nYear: 1979\nWhy: tense\n\nMovie: The Thing\nYear: 1982\nWhy: cold",
        "- Title: Alien\n- Year: 1979\n- Title: The Thing\n- Year: 1982",
        "- title: Alien\n  year: 1979\n- title: The Thing\n  year: 1982",
        "Movie 1: Alien (1979)\nMovie 2: The Thing (1982)",
        "1.\nAlien (1979)\n\n2.\nThe Thing (1982)",
        "1. Alien\n   Year: 1979\n   Genre: horror\n2. The Thing\n   Year: 1982",
        "{\"1\": \"Alien (1979)\", \"2\": \"The Thing (1982)\"}",
        "```json\n{\n \"2\": \"The Thing (1982)\",\n \"1\": \"Alien (1979)\"\n}\n```",
        "{\"recommendations\": {\"1\": {\"title\": \"Alien\", \"year\": 1979}, \"2\": {\"title\": \"The Thing\", \"year\": 1982}}}",
        "{\"thinking\": [\"Up\", \"Heat\"], \"recommendations\": [\"Alien (1979)\", \"The Thing (1982)\"]}",
        "{\"rejected\": [\"Up (2009)\"], \"movie_1\": \"Alien (1979)\", \"movie_2\": \"The Thing (1982)\"}",
        "{\"Alien (1979)\": \"a crew\", \"The Thing (1982)\": \"a camp\"}",
        "{\"answer\": \"1. Alien (1979)\\n2. The Thing (1982)\"}",
        "[[1, \"Alien\", 1979], [2, \"The Thing\", 1982]]",
        "['Alien (1979)', 'The Thing (1982)']",
        "[{'movie_title': 'Alien', 'year': 1979}, {'movie_title': 'The Thing', 'year': 1982}]",
        "[{\"movie\": {\"title\": \"Alien\", \"year\": 1979}}, {\"movie\": {\"title\": \"The Thing\", \"year\": 1982}}]",
        "{\"1\": \"Alien (1979)\", \"2\": \"The Thing (1982)\", \"3\": \"The Fl",
        "Rank | Title | Year\n--- | --- | ---\n1 | Alien | 1979\n2 | The Thing | 1982",
        "Title | Year\n:--|--:\nAlien | 1979\nThe Thing | 1982\n\nEnjoy!",
        "1 | Alien | 1979\n2 | The Thing | 1982",
        "| Alien | 1979 |\n| The Thing | 1982 |",
        "| Rank | Year | Movie |\n|---|---|---|\n| 1 | 1979 | **Alien** |\n| 2 | 1982 | **The Thing** |",
        "+---+-----------+------+\n| # | Title     | Year |\n+---+-----------+------+\n| 1 | Alien     | 1979 |\n| 2 | The Thing | 1982 |\n+---+-----------+------+",
        "│ # │ Title │ Year │\n├───┼───────┼──────┤\n│ 1 │ Alien │ 1979 │\n│ 2 │ The Thing │ 1982 │",
        "Rank\tTitle\tYear\n1\tAlien\t1979\n2\tThe Thing\t1982",
        "rank,title,year\n1,\"Alien\",1979\n2,The Thing,1982",
        "<ol>\n<li>Alien (1979)</li>\n<li>The Thing (1982)</li>\n</ol>",
        "<ul><li><b>Alien</b> (1979)<ul><li>a crew</li></ul></li><li><b>The Thing</b> (1982)</li></ul>",
        "<table><tr><th>Title</th><th>Year</th></tr><tr><td>Alien</td><td>1979</td></tr><tr><td>The Thing</td><td>1982</td></tr></table>",
        "1. Alien (1979)<br>2. The Thing (1982)",
        "- Alien (1979)\n  - A crew meets something\n  - Ridley Scott\n- The Thing (1982)\n  - John Carpenter",
        "* **Alien** (1979)\n    * Director: Ridley Scott\n* **The Thing** (1982)\n    * Director: John Carpenter",
        "1. Alien (1979)\n   1. It is tense\n   2. It is slow\n2. The Thing (1982)\n   1. It is cold",
        "- Horror:\n  - Alien (1979)\n  - The Thing (1982)",
        "1. Horror:\n   1. Alien (1979)\n   2. The Thing (1982)",
        "**Alien (1979)**\nA crew meets something in space.\n\n**The Thing (1982)**\nA camp in the ice.",
        "Alien (1979)\nA crew meets something in space.\n\nThe Thing (1982)\nA camp in the ice is visited.",
        "a) Alien (1979)\nb) The Thing (1982)",
        "I. Alien (1979)\nII. The Thing (1982)",
        "一、Alien（1979）\n二、The Thing（1982）",
        "1 Alien (1979)\n2 The Thing (1982)",
        "1.Alien (1979)\n2.The Thing (1982)",
        "1. Alien - 1979\n2. The Thing – 1982",
        "1. Alien | 1979 | horror\n2. The Thing | 1982 | horror",
        "1. (1979) Alien\n2. (1982) The Thing",
        "1. Alien (Ridley Scott, 1979)\n2. The Thing (1982, dir. John Carpenter)",
        "🎬 Alien (1979)\n🎬 The Thing (1982)\n",
        "1. 🎬 Alien (1979) ⭐⭐⭐⭐\n2. 🎬 The Thing (1982)",
        "- [ ] Alien (1979)\n- [x] The Thing (1982)",
        "> 1. Alien (1979)\n> 2. The Thing (1982)",
        "1. ~~Up~~ Alien (1979)\n2. The Thing (1982)",
        "\u{feff}1. \u{200e}Alien\u{200f} (1979)\r\n2. \u{2068}The Thing\u{2069} (1982)\r\n",
        "Draft:\n1. Up (2009)\n2. Heat (1995)\n\nFinal answer:\n1. Alien (1979)\n2. The Thing (1982)",
        "<think>1. Up\n2. Heat</think>\n| Title | Year |\n|---|---|\n| Alien | 1979 |\n| The Thing | 1982 |",
        "No. 1: Alien (1979)\nNo. 2: The Thing (1982)",
        "第1位：Alien（1979）\n第2位：The Thing（1982）",
        "1. Alien (1979)\n2. The Thing (1982)\n\n**Note:** both are on disc.\n- Tell me what you liked.",
    ];
    for shape in shapes {
        assert_eq!(titles(shape), ["Alien @1979", "The Thing @1982"], "{shape}");
    }
}

#[test]
fn headings_of_categories_are_no_titles() {
    let answer = "## Horror\n- Alien (1979)\n- The Thing (1982)\n## Crime\n- Heat (1995)";
    assert_eq!(titles(answer), ["Alien @1979", "The Thing @1982", "Heat @1995"]);
    let answer = "### Horror\n1. Alien\n2. The Thing\n### Crime\n3. Heat";
    assert_eq!(titles(answer), ["Alien", "The Thing", "Heat"]);
    let answer = "**Horror**\n- Alien\n- The Thing\n**Crime**\n- Heat";
    assert_eq!(titles(answer), ["Alien", "The Thing", "Heat"]);
}

#[test]
fn titles_in_other_scripts_are_read_whole() {
    for (answer, expected) in [
        ("1. 千と千尋の神隠し（2001年）\n2. 七人の侍", vec!["千と千尋の神隠し @2001", "七人の侍"]),
        ("1. 七人の侍：農民に雇われた侍たちが、村を守る。\n2. 君の名は。", vec!["七人の侍", "君の名は。"]),
        ("《霸王别姬》、《重庆森林》、《活着》", vec!["霸王别姬", "重庆森林", "活着"]),
        ("1. 기생충 (2019)\n2. 올드보이 (2003)", vec!["기생충 @2019", "올드보이 @2003"]),
        ("1) Иди и смотри (1985 г.)\n2) Брат", vec!["Иди и смотри @1985", "Брат"]),
        ("1. 劇場版『鬼滅の刃』無限列車編\n2. リング", vec!["劇場版『鬼滅の刃』無限列車編", "リング"]),
        ("1. 復仇者聯盟：終局之戰\n2. 英雄", vec!["復仇者聯盟：終局之戰", "英雄"]),
        ("1. Am&eacute;lie\n2. Fast &amp; Furious", vec!["Am&eacute;lie", "Fast & Furious"]),
    ] {
        assert_eq!(titles(answer), expected, "{answer}");
    }
}

#[test]
fn titles_keep_their_own_numbers_dashes_colons_and_parentheses() {
    for title in [
        "12 Angry Men",
        "300",
        "300: Rise of an Empire",
        "2001: A Space Odyssey",
        "Blade Runner 2049",
        "1917",
        "(500) Days of Summer",
        "10 Things I Hate About You",
        "Mission: Impossible - Fallout",
        "John Wick: Chapter 3 - Parabellum",
        "Stand by Me",
        "Star Wars: Episode IV - A New Hope",
        "Call Me by Your Name",
        "The Good, the Bad and the Ugly",
        "Paris, Texas",
        "The Meyerowitz Stories (New and Selected)",
        "What's Eating Gilbert Grape",
        "'Round Midnight",
        "9 to 5",
        "Kill Bill: Vol. 1",
        "I, Tonya",
        "Crazy, Stupid, Love",
        "*batteries not included",
        "Shazam!",
        "O Brother, Where Art Thou?",
        "Spider-Man: Homecoming",
        "\"Crocodile\" Dundee",
        "...And Justice for All",
        "8½",
        "K-19: The Widowmaker",
        "Face/Off",
        "The Director: An Evolution in Three Acts",
        "Mr. Nobody",
        "Monsters, Inc.",
        "Batman: Year One",
        "Wonder Woman 1984",
        "21 Jump Street",
        "WALL·E",
        "[REC]",
        "District 9",
        "3-Iron",
        "2:22",
        "E.T. the Extra-Terrestrial",
        "The 40-Year-Old Virgin",
    ] {
        assert_eq!(
            titles(&format!("1. {title}\n2. Heat")),
            [title, "Heat"].map(|t| t.trim_start_matches('*')),
            "{title}"
        );
        assert_eq!(
            titles(&format!("1. {title} (1999)\n2. Heat"))[0],
            format!("{} @1999", title.trim_start_matches('*'))
        );
    }
}

#[test]
fn notes_authors_and_half_lines_come_off() {
    let one = |line: &str| titles(&format!("1. {line}\n2. Heat"))[0].clone();
    assert_eq!(one("The Haunting of Hill House (TV series)"), "The Haunting of Hill House");
    assert_eq!(one("Andor (TV Series 2022–2025)"), "Andor @2022");
    assert_eq!(one("Neuromancer (upcoming)"), "Neuromancer");
    assert_eq!(one("Dune by Frank Herbert"), "Dune");
    assert_eq!(one("\"Dune\" by Frank Herbert"), "Dune");
    assert_eq!(one("Amadeus - directed by Milos Forman"), "Amadeus");
    assert_eq!(one("Alien - a crew meets something in deep space"), "Alien");
    assert_eq!(one("Alien: In space, nobody hears you because there is nothing that carries sound."), "Alien");
    assert_eq!(titles("1. Heat\n2. Blade Runner (19"), ["Heat", "Blade Runner"]);
    assert_eq!(titles("1. Heat\n2."), ["Heat"]);
    assert_eq!(titles("1. Heat\n2. \"Blade Run"), ["Heat", "Blade Run"]);
}

#[test]
fn answers_without_a_list_name_nothing_or_the_one_title() {
    assert_eq!(titles(""), [""; 0]);
    assert_eq!(titles("I'm sorry, I cannot recommend anything without knowing what you like."), [""; 0]);
    assert_eq!(titles("Sure! What kind of films do you like?"), [""; 0]);
    assert_eq!(titles("[]"), [""; 0]);
    assert_eq!(titles("Inception"), ["Inception"]);
    assert_eq!(titles("Heat, Ronin, Alien, The Thing and Up"), ["Heat", "Ronin", "Alien", "The Thing", "Up"]);
    assert_eq!(titles("You might like: Heat, Ronin, Alien, and Up."), ["Heat", "Ronin", "Alien", "Up"]);
}

/// Where the reference's own parse differs from ours, and why ours is right.
fn explained(said: &str, ours: &ParsedTitle) -> bool {
    // The reference drops every parenthesis, whatever it holds; a subtitle in parentheses is part of the title …
    let subtitle = ours.title.strip_prefix(said).is_some_and(|rest| rest.starts_with(" (") && rest.ends_with(')'));
    // … and what follows the year in parentheses is a description.
    let description = said.strip_prefix(ours.title.as_str()).is_some_and(|rest| rest.starts_with(" - "));
    subtitle || description && ours.year.is_some()
}

/// All titles that differ from the reference's reading: enumerations and a subtitle in parentheses, and one description.
const DIFFER: [&str; 5] = [
    "In Time",
    "The Before Trilogy (Before Sunrise, Before Sunset, Before Midnight)",
    "The Coen Brothers' films (Fargo, Burn After Reading, etc.)",
    "The Cornetto Trilogy (Shaun of the Dead, Hot Fuzz, The World's End)",
    "The Meyerowitz Stories (New and Selected)",
];

#[test]
fn all_real_answers_give_their_titles_as_the_reference_read_them() {
    let Some(path) = crate::testing::shared("data/llm_outputs/gpt4_inspired.jsonl") else { return };
    let rows: Vec<Value> = crate::artifact::read_jsonl(&path).unwrap();
    assert_eq!(rows.len(), 228);
    let mut differ = std::collections::BTreeSet::new();
    for row in &rows {
        let ours = parse_titles(row["text"].as_str().unwrap());
        let said: Vec<&str> = row["matched"].as_array().unwrap().iter().map(|m| m["said"].as_str().unwrap()).collect();
        assert_eq!(ours.len(), 20, "answer {}: {ours:?}", row["index"]);
        assert_eq!(said.len(), 20);
        for (said, ours) in said.iter().zip(&ours) {
            if *said != ours.title {
                assert!(explained(said, ours), "answer {}: reference {said:?}, ours {ours:?}", row["index"]);
                differ.insert(ours.title.clone());
            }
        }
    }
    assert_eq!(differ.iter().collect::<Vec<_>>(), DIFFER);
    // Every year that an answer states is read.
    let years =
        rows.iter().flat_map(|r| parse_titles(r["text"].as_str().unwrap())).filter(|p| p.year.is_some()).count();
    let year_in_parentheses = |l: &str| l.split('(').skip(1).any(|p| first_year(p.get(..4).unwrap_or("")).is_some());
    let stated = rows
        .iter()
        .flat_map(|r| r["text"].as_str().unwrap().lines())
        .filter(|l| l.starts_with(|c: char| c.is_ascii_digit()) && year_in_parentheses(l))
        .count();
    assert_eq!(years, stated);
}

proptest! {
    #[test]
    fn no_text_makes_it_panic_or_give_an_empty_title(text in "(?s).{0,300}") {
        for parsed in parse_titles(&text) {
            prop_assert!(!parsed.title.trim().is_empty());
        }
    }

    #[test]
    fn no_soup_of_marks_makes_it_panic(parts in proptest::collection::vec(prop_oneof![
        Just("["), Just("\""), Just("{"), Just("]"), Just("("), Just(")"), Just("1. "), Just("- "), Just("**"), Just("\n"), Just(" by "),
        Just(": "), Just(" - "), Just("1999"), Just("title"), Just(","), Just("é"), Just("“"), Just("”"), Just("'"), Just("|"), Just("19")
    ], 0..60)) {
        for parsed in parse_titles(&parts.concat()) {
            prop_assert!(!parsed.title.trim().is_empty());
        }
    }

    #[test]
    fn what_is_written_as_a_list_is_read_back(
        names in proptest::collection::vec("[A-Z][a-z]{1,8}(( |: |-| & |, )[A-Z][a-z]{1,8}){0,4}[!?]?", 2..20),
        year in proptest::option::of(1900u16..2030),
        style in 0..6usize,
    ) {
        let dated = |n: &str| year.map_or(n.to_string(), |y| format!("{n} ({y})"));
        let text: Vec<String> = names.iter().enumerate().map(|(i, n)| match style {
            0 => format!("{}. {}", i + 1, dated(n)),
            1 => format!("- {}", dated(n)),
            2 => format!("{}) **{n}**{}", i + 1, year.map_or(String::new(), |y| format!(" ({y}): because it is good"))),
            3 => format!("{}. \"{n}\"{}", i + 1, year.map_or(String::new(), |y| format!(" ({y}) - because it is good"))),
            4 => format!("* **{}**", dated(n)),
            _ => format!("{}. {}", i + 1, dated(n)),
        }).collect();
        let text = if style == 5 { serde_json::to_string(&names.iter().map(|n| dated(n)).collect::<Vec<_>>()).unwrap() } else { text.join("\n") };
        let expected: Vec<ParsedTitle> = names.iter().map(|n| ParsedTitle { title: n.clone(), year }).collect();
        prop_assert_eq!(parse_titles(&text), expected, "{}", text);
    }
}
