//! Leaf: the only room that names llama-cpp-sys-2: models, tokens, hidden states, decoding, quantising.
