#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    omnizap_fuzz::pipeline::run(data);
});
