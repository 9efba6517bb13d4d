//! Ports and options as typed constants, the same for built-in stages and plugins in Rust: a wrong
//! name does not compile, and a default and its range stand once.
//!
//! ```
//! use omnizap_contract::typed::{In, Opt, Out, Text};
//! use omnizap_contract::{Inputs, Options, Outputs};
//!
//! const NAME: In<Text> = In::required("name", "whom to greet");
//! const LOUDNESS: Opt<f64> = Opt::number("loudness", 0.5, "how loud to be").within(0.0, 1.0);
//! const GREETING: Out<Text> = Out::new("greeting", "what to say").published("null");
//!
//! # let inputs = Inputs::new([NAME.port()].into(), vec![Some("Ada".into())]);
//! let loud = Options::default().get(LOUDNESS) > 0.7;
//! let greeting = format!("hello {}{}", inputs.get(NAME)?, if loud { "!" } else { "" });
//! let outputs = Outputs::new().with(GREETING, greeting);
//! # assert_eq!(outputs.get(GREETING).map(|text| &**text), Some("hello Ada"));
//! # Ok::<(), omnizap_contract::Error>(())
//! ```

mod option;
mod port;

pub use option::{Choice, Default, OneOf, Opt, OptionValue, Shape, Spec};
pub use port::{In, InPort, InSpec, Out, OutSpec, PortValue, Text, TextList};
