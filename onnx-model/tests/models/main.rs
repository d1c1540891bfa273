//! Models that are read, and models that end in a message.

mod external;
mod hostile;
mod sound;
mod written;
