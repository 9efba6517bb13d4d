//! The integration tests: one binary over the real program, real stages and real files.
//!
//! - `architecture`: which crate may know which, kept by reading the sources
//! - `engine`: the engine alone, with stages made for the test
//! - `plugins`: third-party stages as real libraries
//! - `service`: the program as its users meet it
//! - `deployment`: what operators are given, held to the program
//! - `fuzz`: readers of strangers' bytes, on bytes that nobody wrote
//! - `memory`: what it remembers, over each kind of database

#![allow(missing_docs, reason = "tests are not an interface")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod architecture;
mod deployment;
mod engine;
mod fuzz;
mod memory;
mod plugins;
mod service;
mod support;
