//! The demo shows the three examples, as they were recorded. Without the cargo feature it says how to get it.

use std::process::Command;

fn demo(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_annunciator"));
    command.arg("demo").args(args);
    command
}

#[cfg(feature = "demo")]
mod with_the_feature {
    use super::demo;
    use std::io::{BufRead as _, BufReader};
    use std::process::{Child, Stdio};
    use std::sync::mpsc;
    use std::time::Duration;

    /// Longer than any line of the demo is away from the one before it, on a busy machine.
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Ends with the test, whatever becomes of it.
    struct Running(Child);

    impl Drop for Running {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }

    #[test]
    fn it_shows_the_three_examples_and_ends() {
        let mut running = Running(demo(&["--duration", "20s"]).stdout(Stdio::piped()).spawn().unwrap());
        let stdout = BufReader::new(running.0.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || stdout.lines().try_for_each(|line| sender.send(line.unwrap())));
        let mut seen = String::new();
        let mut wait_for = |want: &str| {
            let is_seen = |seen: &str| seen.lines().any(|line| line.contains(want));
            while !is_seen(&seen) {
                let line = lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{want:?} is not in\n{seen}"));
                seen.push_str(&line);
                seen.push('\n');
            }
        };
        wait_for("mosquitto_sub -h 127.0.0.1 -p ");
        wait_for(" 6s  18 ");
        // On a busy machine a value may come late by a good part of a second, so neither the second nor the mean is certain.
        wait_for("s  press-1/pressure/range   ACTIVATED     outside 10…20 for 5 s (");
        wait_for("s  press-2/pressure/mean    ACTIVATED     mean above 19 for 5 s (");
        wait_for("s  press-3/pressure/silent  ACTIVATED     no value for 5 s (last was 15)");
        wait_for("s  press-1/pressure/range   idled         back in 10…20 (19)");
        wait_for("The demo has ended: 3 activations");
        assert!(running.0.wait().unwrap().success());
        assert!(!seen.contains('\x1b'), "colours in a pipe");
    }

    #[test]
    fn a_port_that_is_taken_is_said() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let output = demo(&["--port", &port, "--duration", "1s"]).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.contains(&format!("port {port} cannot be used")), "{said}");
        assert!(output.stdout.is_empty());
    }
}

#[cfg(not(feature = "demo"))]
#[test]
fn without_the_feature_it_says_how_to_get_it() {
    let output = demo(&[]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("cargo run --release --locked --features demo -- demo"), "{said}");
    assert!(output.stdout.is_empty());
}
