//! Stages of OmniZap Classifier as shared libraries, in safe Rust: implement [`Stage`],
//! name it in [`export!`], build with `crate-type = ["cdylib"]`.
//!
//! # Layout
//!
//! - [`stage`]: what an author implements, and what a call sees
//! - [`descriptor`]: a stage's ports, options and flags, as constants
//! - `schema`: the options as JSON, written while the plugin is compiled
//! - `view`: pictures as a stage sees them
//! - `glue`, `raw`: the functions behind the C ABI and the guard that lets no panic out; what the
//!   host lends, read as Rust (the only unsafe code)
//!
//! The ABI itself is explained in `plugins/contract/include/omnizap_plugin.h`.

pub mod descriptor;
#[doc(hidden)]
pub mod glue;
#[doc(hidden)]
pub mod raw;
#[doc(hidden)]
pub mod schema;
pub mod stage;
mod view;

pub use descriptor::Descriptor;
pub use omnizap_contract::typed::{Choice, In, OneOf, Opt, Out, Text, TextList};
pub use omnizap_contract::{
    Bytes, Channels, Embedding, Error, ErrorKind, Image, OptionFault, Options, Outputs, PortType,
    Scores, Tensor, Value, abi, choices,
};
pub use stage::{Call, Inputs, Lent, Log, Stage};
pub use view::ImageView;

/// Exports stages as a plugin: the one symbol that the host looks for. Two stages with one
/// id do not compile.
///
/// ```ignore
/// omnizap_plugin::export! { name: "acme", stages: [Phash, NearDuplicate] }
/// ```
#[macro_export]
macro_rules! export {
    (name: $name:literal, stages: [$($stage:ty),+ $(,)?] $(,)?) => {
        const _: () = {
            use $crate::{Stage as _, abi, descriptor, glue, schema};

            const IDS: &[&str] = &[$(<$stage>::DESCRIPTOR.id),+];
            const _: () = assert!(descriptor::are_distinct(IDS), "two stages have the same id");

            #[unsafe(no_mangle)]
            #[allow(non_upper_case_globals, reason = "the name that the ABI gives it")]
            pub static omnizap_plugin_entry: abi::Entry = abi::Entry {
                name: abi::Span::of($name),
                version: abi::Span::of(env!("CARGO_PKG_VERSION")),
                build: abi::Span::of(concat!("omnizap-plugin SDK, ", env!("CARGO_PKG_NAME"))),
                stages: STAGES.0.as_ptr(),
                stage_count: IDS.len(),
                get_factory: Some(get_factory),
                ..glue::ENTRY
            };

            static STAGES: glue::Constant<[*const abi::StageDescriptor; IDS.len()]> =
                glue::Constant([$({
                    const INPUTS: [abi::Port; <$stage>::DESCRIPTOR.inputs.len()] =
                        descriptor::inputs(<$stage>::DESCRIPTOR.inputs);
                    static INPUT_PORTS: glue::Constant<[abi::Port; INPUTS.len()]> =
                        glue::Constant(INPUTS);
                    static INPUT_LIST: glue::Constant<[*const abi::Port; INPUTS.len()]> =
                        glue::Constant(descriptor::pointers(&INPUT_PORTS.0));
                    const OUTPUTS: [abi::Port; <$stage>::DESCRIPTOR.outputs.len()] =
                        descriptor::outputs(<$stage>::DESCRIPTOR.outputs);
                    static OUTPUT_PORTS: glue::Constant<[abi::Port; OUTPUTS.len()]> =
                        glue::Constant(OUTPUTS);
                    static OUTPUT_LIST: glue::Constant<[*const abi::Port; OUTPUTS.len()]> =
                        glue::Constant(descriptor::pointers(&OUTPUT_PORTS.0));
                    const OPTIONS: usize = schema::len(<$stage>::DESCRIPTOR.options);
                    static SCHEMA: [u8; OPTIONS] = schema::json(<$stage>::DESCRIPTOR.options);
                    static DESCRIPTOR: abi::StageDescriptor = descriptor::stage(
                        &<$stage>::DESCRIPTOR,
                        &SCHEMA,
                        &INPUT_LIST.0,
                        &OUTPUT_LIST.0,
                    );
                    &raw const DESCRIPTOR
                }),+]);

            static FACTORY: abi::StageFactory = glue::factory(glue::create::<Factory>);

            struct Factory;

            impl glue::Create for Factory {
                fn create(
                    host: glue::HostPointer,
                    id: &str,
                ) -> Option<glue::StagePointer> {
                    $(if id == <$stage>::DESCRIPTOR.id {
                        return Some(glue::make::<$stage>(host));
                    })+
                    None
                }
            }

            extern "C" fn get_factory(id: abi::Span) -> *const ::std::ffi::c_void {
                glue::factory_of(id, &FACTORY)
            }
        };
    };
}
