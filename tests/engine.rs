//! The engine alone, with stages made for the test.

mod demand;
mod files;
mod graphs;
mod layers;
mod messages;
mod requests;
mod response;
mod running;
