fn main() -> std::io::Result<()> {
    let directory = std::env::var("PENSTOCK_PROTO").expect("PENSTOCK_PROTO: where interop.proto is");
    tonic_build::configure().compile_protos(&[format!("{directory}/interop.proto")], &[directory])
}
