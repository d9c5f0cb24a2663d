//! Who holds a token.
