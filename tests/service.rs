//! The program as its users meet it.

mod answers;
mod command_line;
mod faults;
mod load;
mod shutdown;
mod toggles;
