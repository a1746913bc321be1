//! Room 5, tune: dialogues → a tuned recommender: ranking head, LoRA, full SFT (paper §3.4).
