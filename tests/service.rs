//! The program as its users meet it.

mod answers;
mod bodies;
mod budgets;
mod classify_command;
mod clients;
mod command_line;
mod compat;
mod conditions;
mod dotenv;
mod embed_text;
mod embedded;
mod faults;
mod labels;
mod language_model;
mod load;
mod log;
mod nsfw;
mod overload;
mod recipes;
mod reload;
mod requests;
mod shutdown;
mod tags;
mod toggles;
mod trust;
