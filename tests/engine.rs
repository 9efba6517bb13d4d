//! The engine alone, with stages made for the test.

mod bindings;
mod cases;
mod demand;
mod docs;
mod files;
mod graphs;
mod layers;
mod messages;
mod random;
mod requests;
mod response;
mod running;
mod time;
