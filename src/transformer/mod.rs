//! Leaf: the small LM as we train it: weights, forward and backward of each operation side by side (paper §3.4).
