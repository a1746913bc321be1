//! The choices that settings offer, an enum each: made by one macro, so that names, parsing and the list of what may be
//! written are given once. What a choice means is written in the room that takes it, in a match without a default arm.

/// A setting's value that is one of a few names.
pub trait Choice: Copy + PartialEq + 'static {
    /// Every choice, in the order in which it is listed.
    const ALL: &'static [Self];
    /// As it is written in a settings file.
    fn name(self) -> &'static str;
    /// The choice of that name.
    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|choice| choice.name() == name)
    }
    /// The names: `a | b | c`.
    fn names() -> String {
        Self::ALL.iter().map(|choice| choice.name()).collect::<Vec<_>>().join(" | ")
    }
}

macro_rules! choices {
    ($( $(#[doc = $doc:literal])+ $choice:ident {
        $( $(#[doc = $variant_doc:literal])+ $variant:ident = $name:literal, )+
    } )*) => { $(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $choice {
            $( $(#[doc = $variant_doc])+ #[serde(rename = $name)] $variant, )+
        }
        impl Choice for $choice {
            const ALL: &'static [$choice] = &[$( $choice::$variant, )+];
            fn name(self) -> &'static str {
                match self { $( $choice::$variant => $name, )+ }
            }
        }
        impl std::fmt::Display for $choice {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.name())
            }
        }
        /// The name in quotes, as it stands in a settings file.
        impl std::fmt::Debug for $choice {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                std::fmt::Debug::fmt(self.name(), f)
            }
        }
        impl std::str::FromStr for $choice {
            type Err = crate::Error;
            fn from_str(name: &str) -> crate::Result<$choice> {
                let unknown = || format!("{name:?} must be one of {}", <$choice as Choice>::names());
                <$choice as Choice>::from_name(name).ok_or_else(|| crate::Error::invalid(unknown()))
            }
        }
        /// Tests write a choice as a settings file does.
        #[cfg(test)]
        impl From<&str> for $choice {
            fn from(name: &str) -> $choice {
                name.parse().unwrap()
            }
        }
    )* };
}

choices! {
    /// The format of the files that are imported.
    SourceFormat {
        /// causerie's own JSON lines.
        Causerie = "causerie",
        /// Amazon Reviews '23: reviews and meta, joined by `parent_asin`.
        Amazon2023 = "amazon2023",
        /// Amazon reviews of 2018 and of 2014, joined by `asin`; the metadata of 2014 is Python, not JSON, and read too.
        Amazon2018 = "amazon2018",
        /// MovieLens: `movies.csv` as items, `ratings.csv` as interactions, `tags.csv` as keywords.
        MovieLens = "movielens",
    }
    /// What becomes of reviews and interactions whose item has no metadata.
    UnknownItems {
        /// They are left out.
        Drop = "drop",
        /// An item is made of the bare id.
        Keep = "keep",
    }
    /// How a file is packed.
    Compression {
        /// Not at all.
        None = "none",
        /// gzip.
        Gz = "gz",
        /// Zstandard.
        Zst = "zst",
    }
    /// How texts become rows.
    EmbedMethod {
        /// By the built-in features.
        Text = "text",
        /// By a GGUF through llama.cpp.
        Lm = "lm",
        /// Not at all: the rows are given in a file.
        File = "file",
    }
    /// How a language model's states become one row.
    PoolingChoice {
        /// The model's own way where it has one, the mean elsewhere.
        Auto = "auto",
        /// The mean over the text's tokens.
        Mean = "mean",
        /// The last token.
        Last = "last",
    }
    /// How rows are stored.
    StoreType {
        /// Four bytes a value.
        F32 = "f32",
        /// Two bytes a value.
        F16 = "f16",
        /// One byte a value and a scale per row.
        I8 = "i8",
    }
    /// How collaborative features are made.
    UserMethod {
        /// Implicit alternating least squares.
        Als = "als",
        /// A truncated SVD of the user-item matrix.
        Svd = "svd",
    }
    /// A strategy of selection (paper §3.2, §4.5, §4.6).
    Strategy {
        /// Rows at random.
        Random = "random",
        /// Jensen-Shannon divergence (§3.2.1).
        Js = "js",
        /// Fisher information (§3.2.2).
        Fisher = "fisher",
        /// JS on text and metadata (§4.5).
        MetadataJs = "metadata_js",
        /// Fisher on text and metadata (§4.5).
        MetadataFisher = "metadata_fisher",
        /// JS on text and users (§4.6).
        UserJs = "user_js",
        /// Fisher on text and users (§4.6).
        UserFisher = "user_fisher",
    }
    /// When a selection finished from parts is made once more from all rows.
    CompareWhole {
        /// Where that takes a second or two.
        Auto = "auto",
        /// Always.
        Always = "always",
        /// Never.
        Never = "never",
    }
    /// Who writes the dialogues.
    TeacherKind {
        /// The built-in teacher.
        Offline = "offline",
        /// An OpenAI-compatible endpoint.
        Http = "http",
        /// A GGUF through llama.cpp.
        Local = "local",
    }
    /// Where the lists of dialogues come from.
    Lists {
        /// `candidates` for `http` and `local`, `open` for the built-in teacher.
        Auto = "auto",
        /// The teacher names items from memory (the paper).
        Open = "open",
        /// The teacher chooses among items of the catalogue that are retrieved for the query.
        Candidates = "candidates",
        /// The retrieval's own ranking; the teacher writes the queries only, one request a seed.
        Collaborative = "collaborative",
    }
    /// How an endpoint is held to the form of an answer.
    Structured {
        /// The first of `json_schema`, `json_object`, `grammar` and `off` that the endpoint does not refuse.
        Auto = "auto",
        /// `response_format` with a JSON schema.
        JsonSchema = "json_schema",
        /// `response_format` of any JSON object; the prompt says which.
        JsonObject = "json_object",
        /// `grammar`, as llama.cpp's server takes it.
        Grammar = "grammar",
        /// `guided_choice`, as vLLM takes it: the teacher names the best item alone, and the retrieval's ranking follows it.
        GuidedChoice = "guided_choice",
        /// Plain text.
        Off = "off",
    }
    /// Who judges what was made.
    Judge {
        /// Nobody.
        Off = "off",
        /// The teacher that made it.
        Teacher = "teacher",
        /// An endpoint of its own.
        Endpoint = "endpoint",
    }
    /// Whether personal data in reviews is masked before a teacher sees it.
    Masking {
        /// For a teacher that is not on this machine: `http`, a batch, a callback.
        Auto = "auto",
        /// For every teacher that is asked.
        On = "on",
        /// Never.
        Off = "off",
    }
    /// The field of a request that limits an answer's tokens.
    TokenField {
        /// `max_tokens` until a server refuses it.
        Auto = "auto",
        /// The older name.
        MaxTokens = "max_tokens",
        /// The newer name.
        MaxCompletionTokens = "max_completion_tokens",
    }
    /// A field of a request that may be left out.
    OptionalField {
        /// The sampling temperature.
        Temperature = "temperature",
        /// The seed.
        Seed = "seed",
    }
    /// What is tuned.
    TuneMethod {
        /// The ranking head on frozen embeddings.
        Head = "head",
        /// A LoRA adapter of a language model.
        Lora = "lora",
        /// All weights of a language model.
        Full = "full",
    }
    /// Which tokens are trained.
    LossOn {
        /// Those of the answer.
        Answer = "answer",
        /// Those of prompt and answer.
        All = "all",
    }
    /// What a language model learns.
    Objective {
        /// The answer's text.
        Text = "text",
        /// To rank the catalogue off the prompt's last state.
        Items = "items",
        /// Both.
        Both = "both",
    }
    /// The course of the learning rate.
    Schedule {
        /// After the warm-up down to 0 in a line.
        Linear = "linear",
        /// After the warm-up down to 0 in half a cosine.
        Cosine = "cosine",
        /// After the warm-up as it is.
        Constant = "constant",
    }
    /// A projection that gets an adapter.
    LoraTarget {
        /// Queries.
        Q = "q",
        /// Keys.
        K = "k",
        /// Values.
        V = "v",
        /// The attention's output.
        O = "o",
        /// The gate of the feed-forward layer.
        Gate = "gate",
        /// Its widening.
        Up = "up",
        /// Its narrowing.
        Down = "down",
    }
    /// How all weights are held in training.
    WeightType {
        /// In f32.
        F32 = "f32",
        /// In bf16, rounded stochastically.
        Bf16 = "bf16",
    }
    /// In which numbers a product multiplies; sums are f32 in either.
    Arithmetic {
        /// f32.
        F32 = "f32",
        /// Both sides rounded to bf16, to the nearest (ties to even).
        Bf16 = "bf16",
    }
    /// How the optimiser's moments are held.
    Moments {
        /// Eight bytes a weight.
        F32 = "f32",
        /// Two bytes a weight: 8-bit blocks, each with its largest value.
        Bits8 = "8bit",
    }
    /// What the best weights are chosen by.
    StopOn {
        /// The held-out loss.
        Loss = "loss",
        /// The held-out Recall@k.
        Recall = "recall",
    }
    /// What a model's weights become in a file.
    Quantisation {
        /// 32-bit floats.
        F32 = "f32",
        /// 16-bit floats.
        F16 = "f16",
        /// Brain floats of 16 bits.
        BF16 = "bf16",
        /// 8 bits.
        Q8_0 = "q8_0",
        /// 6 bits.
        Q6K = "q6_k",
        /// 5 bits and some 6.
        Q5KM = "q5_k_m",
        /// 4 bits and some 6: the usual choice.
        Q4KM = "q4_k_m",
        /// 4 bits, which llama.cpp repacks and runs fastest.
        Q4_0 = "q4_0",
    }
    /// Who ranks.
    RankingSystem {
        /// The ranking head.
        Head = "head",
        /// NBCRS over the dialogues.
        Nbcrs = "nbcrs",
        /// The retrieval: collaborative neighbours, texts, attributes, popularity; nothing that is tuned on dialogues.
        Retrieval = "retrieval",
        /// Head, NBCRS and retrieval as one.
        Fusion = "fusion",
        /// Popularity.
        Popularity = "popularity",
        /// The tuned language model.
        Lm = "lm",
    }
    /// Whose words make the query.
    Speakers {
        /// What the user said: in the words that synthetic queries are written in.
        User = "user",
        /// What everybody said.
        All = "all",
    }
    /// How a language model's knowledge becomes a ranking.
    Mode {
        /// Beam search over the catalogue's titles: only what is in the catalogue can be named.
        Constrained = "constrained",
        /// The paper's way: a list as text, parsed and looked up.
        Generate = "generate",
        /// The ranking head on the last hidden state of the prompt.
        Head = "head",
    }
    /// Which of a title's tokens it is ranked by.
    RankedBy {
        /// The first ones, which tell it from every other title.
        Telling = "telling",
        /// All of them.
        Title = "title",
    }
    /// How requests that come at the same time are computed.
    Batching {
        /// Each alone.
        Alone = "alone",
        /// In shared forward passes.
        Shared = "shared",
    }
    /// Who says the reply of a chat.
    ReplyVoice {
        /// A sentence of ours, and the list.
        List = "list",
        /// The language model that ranks says a sentence of its own about the best items, then comes the list. A sentence that
        /// would name anything else stops short of it; one that comes to nothing is replaced by ours.
        Model = "model",
    }
}

// `Domain`: the folders of prompts/, which build.rs finds.
include!(concat!(env!("OUT_DIR"), "/domains.rs"));

/// What a strategy looks at beside the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Features {
    /// Nothing.
    None,
    /// The item's metadata.
    Metadata,
    /// Who wrote the review.
    Users,
}

impl Strategy {
    /// The strategy that a caller names; none for an empty name.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Invalid`] for an unknown one.
    pub fn asked(name: &str) -> crate::Result<Option<Strategy>> {
        match name {
            "" => Ok(None),
            name => name.parse().map(Some).map_err(|e: crate::Error| e.context("strategy")),
        }
    }
    /// What it looks at beside the text.
    pub fn features(self) -> Features {
        match self {
            Strategy::Random | Strategy::Js | Strategy::Fisher => Features::None,
            Strategy::MetadataJs | Strategy::MetadataFisher => Features::Metadata,
            Strategy::UserJs | Strategy::UserFisher => Features::Users,
        }
    }
    /// Whether it looks at anything beside the text.
    pub fn is_aware(self) -> bool {
        self.features() != Features::None
    }
    /// Whether it selects by JS, and so by clusters.
    pub fn has_clusters(self) -> bool {
        match self {
            Strategy::Js | Strategy::MetadataJs | Strategy::UserJs => true,
            Strategy::Random | Strategy::Fisher | Strategy::MetadataFisher | Strategy::UserFisher => false,
        }
    }
}

/// Names in a row: `js, fisher`.
pub(crate) fn listed<T: Choice>(choices: &[T]) -> String {
    choices.iter().map(|choice| choice.name()).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_back_from_its_name_and_an_unknown_one_lists_them_all() {
        for strategy in Strategy::ALL {
            assert_eq!(strategy.to_string().parse::<Strategy>().unwrap(), *strategy);
            let json = serde_json::to_string(strategy).unwrap();
            assert_eq!(json, format!("{strategy:?}"));
            assert_eq!(serde_json::from_str::<Strategy>(&json).unwrap(), *strategy);
        }
        let e = "best".parse::<CompareWhole>().unwrap_err();
        assert_eq!(e.message(), "\"best\" must be one of auto | always | never");
    }
}
