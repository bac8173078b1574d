//! A node as a program of its own, without the harness: `cargo run --example node -- --id n1 ...`.

fn main() -> Result<(), schism_targets::server::ServerError> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    schism_targets::server::main(&args)
}
