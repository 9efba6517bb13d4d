//! Turns the ONNX file that `OMNIZAP_ONNX` names into Burn code and weights.

fn main() {
    println!("cargo:rerun-if-env-changed=OMNIZAP_ONNX");
    let onnx = std::env::var("OMNIZAP_ONNX")
        .expect("OMNIZAP_ONNX: the image tower in ONNX, as models/tests/timing.py exports it");
    println!("cargo:rerun-if-changed={onnx}");
    let link =
        std::path::Path::new(&std::env::var("OUT_DIR").expect("cargo sets it")).join("tower.onnx");
    std::fs::copy(&onnx, &link).expect("the ONNX file can be read");
    let link = link.to_str().expect("a path in UTF-8");
    burn_import::onnx::ModelGen::new()
        .input(link)
        .out_dir("onnx/")
        .run_from_script();
}
