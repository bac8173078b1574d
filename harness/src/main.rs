//! Parse, call, exit code.

fn main() -> std::process::ExitCode {
    let code = schism::cli::main(std::env::args_os());
    std::process::ExitCode::from(u8::try_from(code).unwrap_or(u8::MAX))
}
