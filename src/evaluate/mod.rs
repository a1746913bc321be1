//! Room 7, evaluate: recommenders + held-out conversations → report (paper §4.2.1).
