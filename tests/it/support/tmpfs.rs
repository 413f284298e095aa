//! A small file system of its own for a daemon's state, in a mount namespace, so that ordinary users can have one.

use super::until;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// Holds the file system; it goes when this is dropped.
pub struct Tmpfs {
    holder: Child,
    folder: PathBuf,
    enter: Vec<String>,
}

impl Tmpfs {
    /// Mounts one of this size (`16m`) on a folder.
    pub fn mount(folder: &Path, size: &str) -> Tmpfs {
        std::fs::create_dir_all(folder).unwrap();
        let user: &[&str] = &["--user", "--map-root-user"];
        // Where users may have no namespaces of their own, root needs none for users.
        let ways: [(&[&str], &[&str]); 2] = [(user, &["--user", "--preserve-credentials"]), (&[], &[])];
        for (unshare, enter) in ways {
            let script = "mount -t tmpfs -o size=\"$1\" tmpfs \"$2\" && : > \"$2/mounted\" && exec cat";
            let mut command = Command::new("unshare");
            command.args(unshare).args(["--mount", "sh", "-c", script, "sh", size]).arg(folder);
            let holder = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("util-linux is installed");
            let enter = enter.iter().map(|word| (*word).to_owned()).collect();
            let mut tmpfs = Tmpfs { holder, folder: folder.to_owned(), enter };
            let mounted = until("the file system", || match tmpfs.holder.try_wait().unwrap() {
                Some(_) => Some(false),
                None => tmpfs.seen_from_outside().join("mounted").exists().then_some(true),
            });
            if mounted {
                std::fs::remove_file(tmpfs.seen_from_outside().join("mounted")).unwrap();
                return tmpfs;
            }
        }
        panic!("this user may neither have a user namespace nor mount");
    }

    /// Where the file system can be seen without entering it.
    pub fn seen_from_outside(&self) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        root.join(self.folder.strip_prefix("/").unwrap())
    }

    /// A command that runs where the file system is mounted; its process is the program's own.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(&self.enter).args(["--mount", "--target"]).arg(self.holder.id().to_string()).arg(program);
        command
    }

    /// Leaves no room. Returns how many bytes that took.
    pub fn fill(&self) -> u64 {
        let filler = self.seen_from_outside().join("filler");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(filler).unwrap();
        for size in [1 << 16, 1 << 8, 1] {
            while std::io::Write::write_all(&mut file, &vec![0; size]).is_ok() {}
        }
        file.metadata().unwrap().len()
    }

    /// Makes room again.
    pub fn clear(&self) {
        std::fs::remove_file(self.seen_from_outside().join("filler")).unwrap();
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = (self.holder.kill(), self.holder.wait());
    }
}
