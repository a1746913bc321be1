//! The words of the simulated domain. Each latent value (a genre, a mood, a setting, a theme) has one catalogue keyword,
//! several ways in which reviewers speak of it, and other ways in which people wish for it: matching words is not enough.

/// One value of a facet.
pub(super) struct Value {
    /// As the catalogue has it.
    pub keyword: &'static str,
    /// As reviewers say it: noun phrases that stand as subject (past tense) and as object.
    pub review: &'static [&'static str],
    /// As people wish for it: what stands after "something".
    pub wish: &'static [&'static str],
}

const fn v(keyword: &'static str, review: &'static [&'static str], wish: &'static [&'static str]) -> Value {
    Value { keyword, review, wish }
}

pub(super) const GENRES: &[Value] = &[
    v(
        "Comedy",
        &["the jokes", "the deadpan humour", "the running gags", "the silly banter"],
        &["funny", "that makes me laugh", "like a good comedy"],
    ),
    v(
        "Drama",
        &["the family drama", "the quiet kitchen-table scenes", "the raw arguments", "the weighty subject at its core"],
        &["serious", "with real drama", "about real people and their lives"],
    ),
    v(
        "Horror",
        &["the jump scares", "the creeping dread", "the gore", "the haunted corridors"],
        &["scary", "that keeps me awake at night", "like a horror movie"],
    ),
    v(
        "Mystery",
        &["the whodunit", "the trail of clues", "the final reveal", "the detective work"],
        &["with a mystery to solve", "that keeps me guessing", "with a twist"],
    ),
    v(
        "Romance",
        &["the love story", "the slow-burning courtship", "the chemistry between the leads", "the first kiss"],
        &["romantic", "for date night", "with a love story"],
    ),
    v(
        "Science Fiction",
        &["the speculative science", "the androids", "the time paradox", "the vision of the future"],
        &["sci-fi", "futuristic", "with robots or spaceships"],
    ),
    v(
        "Western",
        &["the duel at noon", "the horse chases", "the gunslingers", "the frontier justice"],
        &["with cowboys", "like an old western", "with gunslingers"],
    ),
    v(
        "Adventure",
        &["the treasure hunt", "the long expedition", "the daring escapes", "the globe-trotting"],
        &["adventurous", "with a big journey", "with explorers"],
    ),
    v(
        "Crime",
        &["the heist", "the mobsters", "the interrogations", "the botched robbery"],
        &["with gangsters", "about criminals", "with a heist"],
    ),
    v(
        "Fantasy",
        &["the magic", "the sorcerers", "the enchanted forest", "the prophecy"],
        &["magical", "with wizards and dragons", "like a fantasy epic"],
    ),
    v(
        "Musical",
        &["the songs", "the dance numbers", "the choruses", "the singing"],
        &["with singing and dancing", "musical", "with songs i can hum"],
    ),
    v(
        "War",
        &["the battle scenes", "the trenches", "the soldiers' letters home", "the siege"],
        &["about war", "with battles", "about soldiers"],
    ),
];

pub(super) const MOODS: &[Value] = &[
    v(
        "melancholic",
        &["the aching sadness", "the wistful tone", "its sorrow", "the tears it drew"],
        &["that makes me cry", "sad", "bittersweet"],
    ),
    v(
        "uplifting",
        &["the warmth", "its hopeful spirit", "the feel-good glow", "its optimism"],
        &["feel good", "that cheers me up", "inspiring"],
    ),
    v(
        "tense",
        &["the suspense", "the nail-biting pace", "the mounting pressure", "its nervous energy"],
        &["that has me on the edge of my seat", "suspenseful", "gripping"],
    ),
    v(
        "whimsical",
        &["the quirky charm", "its odd little detours", "the playfulness", "the eccentric touches"],
        &["quirky", "a bit weird", "playful"],
    ),
    v(
        "bleak",
        &["the grim outlook", "its despair", "the merciless tone", "the darkness"],
        &["dark", "gritty", "that does not go easy on me"],
    ),
    v(
        "nostalgic",
        &["the golden haze of memory", "the period songs", "its love of days gone by", "the childhood flashbacks"],
        &["that takes me back", "old fashioned", "nostalgic"],
    ),
    v(
        "satirical",
        &["the biting satire", "the mockery of the powerful", "its sarcasm", "the barbed wit"],
        &["that makes fun of society", "clever and ironic", "satirical"],
    ),
    v(
        "dreamlike",
        &["the surreal images", "its dream logic", "the hypnotic rhythm", "the strange visions"],
        &["trippy", "surreal", "like a dream"],
    ),
    v(
        "gentle",
        &["the unhurried calm", "its tenderness", "the soft-spoken manner", "the kindness of it all"],
        &["calm", "not too heavy", "cozy"],
    ),
    v(
        "furious",
        &["the relentless action", "the breakneck speed", "the explosions", "its raw anger"],
        &["action packed", "fast", "loud and exciting"],
    ),
];

pub(super) const SETTINGS: &[Value] = &[
    v(
        "fishing village",
        &["the harbour and its boats", "the salt-stained village", "the fishermen", "the little port"],
        &["by the sea", "in a small coastal town", "with fishermen"],
    ),
    v(
        "space station",
        &["the orbital outpost", "the airlocks", "the view of the stars", "the station's narrow decks"],
        &["in space", "on a spaceship", "with astronauts"],
    ),
    v(
        "boarding school",
        &["the dormitories", "the strict teachers", "the classroom pranks", "the old school"],
        &["at a school", "about students", "with teens"],
    ),
    v(
        "desert",
        &["the dunes", "the scorching heat", "the endless sand", "the caravan"],
        &["in the desert", "somewhere hot and dusty", "with sand everywhere"],
    ),
    v(
        "big city",
        &["the neon streets", "the subway", "the crowded avenues", "the skyscrapers"],
        &["in a big city", "urban", "with city life"],
    ),
    v(
        "mountain monastery",
        &["the monks", "the snowbound cloister", "the peaks", "the bells of the abbey"],
        &["in the mountains", "with monks", "in the snow"],
    ),
    v(
        "circus",
        &["the big top", "the acrobats", "the ringmaster", "the travelling show"],
        &["at the circus", "with clowns and acrobats", "with a travelling show"],
    ),
    v(
        "hospital",
        &["the wards", "the surgeons", "the night shift", "the waiting room"],
        &["with doctors", "in a hospital", "medical"],
    ),
    v(
        "royal court",
        &["the palace intrigue", "the queen and her advisers", "the throne room", "the costumes at court"],
        &["with kings and queens", "royal", "in a palace"],
    ),
    v(
        "farm",
        &["the harvest", "the barn", "the farmhouse", "the long fields"],
        &["in the countryside", "on a farm", "rural"],
    ),
    v(
        "jungle",
        &["the rainforest", "the river and its crocodiles", "the vines", "the lost temple"],
        &["in the jungle", "tropical", "with wild animals"],
    ),
    v(
        "prison",
        &["the cells", "the guards", "the prison yard", "the life behind bars"],
        &["in jail", "about inmates", "with a prison break"],
    ),
    v(
        "restaurant",
        &["the kitchen", "the chef", "the mouth-watering dishes", "the dinner service"],
        &["about food", "with cooking", "with a chef"],
    ),
    v(
        "theatre",
        &["the backstage chaos", "the rehearsals", "the opening night", "the troupe of actors"],
        &["about actors", "about show business", "on a stage"],
    ),
];

pub(super) const THEMES: &[Value] = &[
    v(
        "betrayal",
        &["the double-cross", "the broken trust", "the stab in the back", "the traitor"],
        &["where someone gets betrayed", "about backstabbing", "with disloyal friends"],
    ),
    v(
        "friendship",
        &["the bond between the two pals", "the camaraderie", "the loyalty", "the lifelong companions"],
        &["about best friends", "with buddies", "about friendship"],
    ),
    v(
        "revenge",
        &["the vendetta", "the payback", "the hunt for the culprit", "the score to settle"],
        &["about getting even", "with revenge", "where the bad guys pay"],
    ),
    v(
        "coming of age",
        &["the awkward growing up", "the summer of firsts", "the lost innocence", "the teenager's awakening"],
        &["about growing up", "about being young", "about a kid finding himself"],
    ),
    v(
        "grief",
        &["the mourning", "the empty chair at the table", "the widow", "the funeral"],
        &["about losing someone", "about death", "about moving on after a loss"],
    ),
    v(
        "ambition",
        &["the climb to the top", "the hunger for fame", "the ruthless careerist", "the price of success"],
        &["about making it big", "about success", "about someone who wants it all"],
    ),
    v(
        "forbidden love",
        &["the affair", "the secret meetings", "the lovers kept apart", "the hidden letters"],
        &["with star crossed lovers", "about an affair", "about a love that cannot be"],
    ),
    v(
        "family secrets",
        &["the skeletons in the closet", "the hidden past", "the lies between siblings", "the inheritance"],
        &["about a messed up family", "with a dark secret", "about parents and children"],
    ),
    v(
        "survival",
        &["the struggle to stay alive", "the hunger and cold", "the castaways", "the fight against the elements"],
        &["about surviving", "where people are stranded", "man against nature"],
    ),
    v(
        "justice",
        &["the trial", "the lawyers", "the wrongly accused man", "the courtroom speeches"],
        &["with a court case", "about lawyers", "about someone innocent"],
    ),
    v(
        "identity",
        &["the mistaken identities", "the disguises", "the double life", "the search for who he is"],
        &["about secret identities", "with a double life", "about finding yourself"],
    ),
    v(
        "obsession",
        &["the fixation", "the collector's mania", "the spiral into madness", "the artist's compulsion"],
        &["about someone obsessed", "about going crazy", "psychological"],
    ),
    v(
        "rebellion",
        &["the uprising", "the resistance", "the outlaws", "the fall of the tyrant"],
        &["about rebels", "about fighting the system", "with a revolution"],
    ),
    v(
        "redemption",
        &["the second chance", "the sinner's remorse", "the road back", "the atonement"],
        &["about second chances", "where a bad guy turns good", "about forgiveness"],
    ),
    v(
        "artificial minds",
        &[
            "the thinking machine",
            "the computer with feelings",
            "the questions about consciousness",
            "the robot's diary",
        ],
        &["about ai", "about machines that think", "with a computer that feels"],
    ),
    v(
        "homecoming",
        &["the return after many years", "the old neighbours", "the train back to the hometown", "the reunion"],
        &["about coming home", "with a reunion", "about going back to where you started"],
    ),
];

/// Syllables of invented names.
pub(super) const STARTS: &[&str] = &[
    "Ar", "Bel", "Cor", "Dra", "El", "Fen", "Gal", "Hal", "Is", "Jor", "Kel", "Lor", "Mar", "Nor", "Or", "Pel", "Quin",
    "Ros", "Sel", "Tar", "Ul", "Vel", "Wil", "Yar", "Zan", "Bran", "Cas", "Dor", "Fal", "Mir", "Sor", "Tes", "Vor",
    "Lan", "Ber",
];
pub(super) const MIDDLES: &[&str] =
    &["a", "e", "i", "o", "u", "an", "en", "il", "or", "ar", "ado", "eri", "imo", "ola", "una", "avi"];
pub(super) const ENDS: &[&str] = &[
    "ra", "lin", "dor", "mund", "vane", "sca", "ta", "th", "nis", "bel", "ko", "rel", "ssa", "wyn", "zar", "mont",
    "ley", "dane", "quist", "ros", "var", "nto",
];
/// Nouns and adjectives of titles; none of them speaks of a facet.
pub(super) const TITLE_NOUNS: &[&str] = &[
    "Lantern",
    "Mirror",
    "Compass",
    "Orchard",
    "Clock",
    "Umbrella",
    "Ladder",
    "Window",
    "Ribbon",
    "Feather",
    "Button",
    "Teapot",
    "Candle",
    "Bridge",
    "Garden",
    "Pencil",
    "Suitcase",
    "Thimble",
    "Staircase",
    "Almanac",
    "Balloon",
    "Marble",
    "Whistle",
    "Kite",
];
pub(super) const TITLE_ADJECTIVES: &[&str] = &[
    "Crimson",
    "Hollow",
    "Seventh",
    "Borrowed",
    "Paper",
    "Glass",
    "Silver",
    "Crooked",
    "Patient",
    "Unfinished",
    "Velvet",
    "Wooden",
    "Northern",
    "Blue",
    "Hundredth",
    "Copper",
];
pub(super) const FIRST_NAMES: &[&str] = &[
    "Ada", "Boris", "Clara", "Dmitri", "Edith", "Felix", "Greta", "Hugo", "Ines", "Jonas", "Katya", "Leon", "Mina",
    "Nils", "Olga", "Paul", "Rosa", "Stefan", "Tilda", "Uma", "Viktor", "Wanda", "Xenia", "Yusuf", "Zoe", "Anselm",
    "Birgit", "Carlo",
];
/// Who a plot is about.
pub(super) const HEROES: &[&str] = &[
    "a retired clerk",
    "two sisters",
    "a stubborn inventor",
    "a young messenger",
    "a failed painter",
    "an old captain",
    "three strangers",
    "a widowed teacher",
    "a runaway heir",
    "a tired inspector",
    "a gifted child",
    "a travelling doctor",
];
