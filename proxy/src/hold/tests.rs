//! What an approval is for, and for what it is not.
