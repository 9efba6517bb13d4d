//! The engine alone, with stages made for the test.

mod files;
mod graphs;
mod running;
