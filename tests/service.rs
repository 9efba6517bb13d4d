//! The program as its users meet it.

mod answers;
mod command_line;
mod embedded;
mod faults;
mod labels;
mod load;
mod nsfw;
mod shutdown;
mod tags;
mod toggles;
