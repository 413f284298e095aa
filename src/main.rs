//! The command line: parse, dispatch, exit code. What the verbs do is in [`annunciator::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    annunciator::cli::main()
}
