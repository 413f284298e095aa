//! A file system that forgets: what may be on a disk when the power goes in the middle of a recording.
//!
//! What was synced is there. Of what was not, each write may be there or not, in any order and torn at any sector; names
//! (created, renamed, removed) that were not synced with their folder are there up to some point, because file systems
//! keep the order of those.

use crate::support::traffic::Random;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a drive writes as a whole.
const SECTOR: usize = 512;

/// One step of a recording.
#[derive(Debug, Clone)]
pub struct Step {
    what: u8,
    inode: u64,
    place: usize,
    data: Vec<u8>,
}

impl Step {
    fn path(&self) -> PathBuf {
        PathBuf::from(String::from_utf8(self.data.clone()).unwrap())
    }

    /// What was written, if it went to this file.
    pub fn written_to(&self, inode: Option<u64>) -> Option<&[u8]> {
        (self.what == b'w' && Some(self.inode) == inode).then_some(&self.data)
    }

    /// The inode of a file that was created by this step with this name.
    pub fn creates(&self, name: &str) -> Option<u64> {
        (self.what == b'c' && self.path().ends_with(name)).then_some(self.inode)
    }
}

/// Reads a recording. File systems use the inodes of removed files again; here each file has a number of its own.
pub fn read(file: &Path) -> Vec<Step> {
    let bytes = std::fs::read(file).unwrap();
    let mut numbers: BTreeMap<u64, u64> = BTreeMap::new();
    let mut rest = &bytes[..];
    let mut steps = Vec::new();
    while !rest.is_empty() {
        let number = |at: usize| u64::from_le_bytes(rest[at..at + 8].try_into().unwrap());
        let (inode, place, length) = (number(1), number(9), usize::try_from(number(17)).unwrap());
        let data = rest[25..25 + length].to_vec();
        if matches!(rest[0], b'c' | b'm') {
            numbers.insert(inode, u64::MAX - steps.len() as u64);
        }
        let inode = *numbers.get(&inode).unwrap_or(&inode);
        steps.push(Step { what: rest[0], inode, place: usize::try_from(place).unwrap(), data });
        rest = &rest[25 + length..];
    }
    steps
}

/// How much of what was not synced survives.
#[derive(Debug, Clone, Copy)]
pub enum Survives {
    Nothing,
    Everything,
    /// Each write or not, whole or torn.
    Some,
}

/// Content of a file: what is safe, and what has been done since.
#[derive(Debug, Clone, Default)]
struct File {
    safe: Vec<u8>,
    since: Vec<Change>,
}

#[derive(Debug, Clone)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

/// Names of files and folders by path. A folder has no content.
type Names = BTreeMap<PathBuf, Option<u64>>;

/// The disk while a recording is played.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    files: BTreeMap<u64, File>,
    /// Inodes of folders.
    folders: BTreeMap<u64, PathBuf>,
    safe_names: Names,
    /// Changes of names that no sync has covered, in order.
    renamed: Vec<Step>,
}

impl Disk {
    /// A disk with what is in a folder, all of it safe.
    pub fn of(folder: &Path) -> Disk {
        use std::os::unix::fs::MetadataExt as _;
        let mut disk = Disk::default();
        let mut todo = vec![folder.to_owned()];
        while let Some(path) = todo.pop() {
            let about = path.metadata().unwrap();
            if about.is_dir() {
                disk.folders.insert(about.ino(), path.clone());
                disk.safe_names.insert(path.clone(), None);
                todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            } else {
                let safe = std::fs::read(&path).unwrap();
                disk.files.insert(about.ino(), File { safe, since: Vec::new() });
                disk.safe_names.insert(path, Some(about.ino()));
            }
        }
        disk
    }

    /// Plays a step.
    pub fn play(&mut self, step: &Step) {
        match step.what {
            b'c' => {
                self.files.insert(step.inode, File::default());
                self.renamed.push(step.clone());
            }
            b'm' => {
                self.folders.insert(step.inode, step.path());
                self.renamed.push(step.clone());
            }
            b'r' | b'u' => self.renamed.push(step.clone()),
            b'w' => self.change(step.inode, Change::Write(step.place, step.data.clone())),
            b't' => self.change(step.inode, Change::Length(step.place)),
            b's' if self.folders.contains_key(&step.inode) => {
                // The order of names is kept, so one that is safe makes all before it safe.
                let folder = self.folders[&step.inode].clone();
                let inside = |step: &Step| touches(step, &folder);
                let until = self.renamed.iter().rposition(inside).map_or(0, |last| last + 1);
                let steps: Vec<Step> = self.renamed.drain(..until).collect();
                steps.iter().for_each(|step| apply(&mut self.safe_names, step));
            }
            b's' => {
                if let Some(file) = self.files.get_mut(&step.inode) {
                    let changes = std::mem::take(&mut file.since);
                    changes.iter().for_each(|change| change.apply(&mut file.safe));
                }
            }
            other => panic!("no such step: {other}"),
        }
    }

    /// Plays a step on a drive that says of what it was told to sync that it is safe, and keeps it in its cache.
    pub fn play_without_sync(&mut self, step: &Step) {
        if step.what != b's' || self.folders.contains_key(&step.inode) {
            self.play(step);
        }
    }

    fn change(&mut self, inode: u64, change: Change) {
        self.files.get_mut(&inode).expect("a file is opened before it is written").since.push(change);
    }

    /// What is there after a cut, written below `to`. Recorded paths begin with `root`.
    pub fn cut(&self, survives: Survives, random: &mut Random, root: &Path, to: &Path) {
        let mut names = self.safe_names.clone();
        let kept = match survives {
            Survives::Nothing => 0,
            Survives::Everything => self.renamed.len(),
            Survives::Some => random.index(self.renamed.len() + 1),
        };
        self.renamed[..kept].iter().for_each(|step| apply(&mut names, step));
        for (path, inode) in names {
            let path = to.join(path.strip_prefix(root).unwrap());
            match inode {
                None => std::fs::create_dir_all(path).unwrap(),
                Some(inode) => std::fs::write(path, self.files[&inode].after(survives, random)).unwrap(),
            }
        }
    }
}

impl Change {
    fn apply(&self, content: &mut Vec<u8>) {
        match self {
            Change::Length(length) => content.resize(*length, 0),
            Change::Write(place, data) => {
                content.resize(content.len().max(place + data.len()), 0);
                content[*place..place + data.len()].copy_from_slice(data);
            }
        }
    }
}

impl File {
    fn after(&self, survives: Survives, random: &mut Random) -> Vec<u8> {
        let mut content = self.safe.clone();
        for change in &self.since {
            match (survives, change) {
                (Survives::Nothing, _) => {}
                (Survives::Everything, _) => change.apply(&mut content),
                (Survives::Some, Change::Length(_)) => {
                    if random.below(2) == 0 {
                        change.apply(&mut content);
                    }
                }
                (Survives::Some, Change::Write(place, data)) => match random.below(4) {
                    0 => {}
                    1 => change.apply(&mut content),
                    // Torn: some sectors, and the file may be as long as if all were there.
                    _ => {
                        for (index, sector) in data.chunks(SECTOR).enumerate() {
                            if random.below(2) == 0 {
                                Change::Write(place + index * SECTOR, sector.to_vec()).apply(&mut content);
                            }
                        }
                    }
                },
            }
        }
        content
    }
}

/// Whether a change of names is one in this folder.
fn touches(step: &Step, folder: &Path) -> bool {
    let text = String::from_utf8_lossy(&step.data).into_owned();
    text.lines().any(|path| Path::new(path).parent() == Some(folder))
}

fn apply(names: &mut Names, step: &Step) {
    match step.what {
        b'c' => drop(names.insert(step.path(), Some(step.inode))),
        b'm' => drop(names.insert(step.path(), None)),
        b'u' => drop(names.remove(&step.path())),
        _ => {
            let both = String::from_utf8(step.data.clone()).unwrap();
            let (from, to) = both.split_once('\n').unwrap();
            let moved: Vec<PathBuf> = names.keys().filter(|path| path.starts_with(from)).cloned().collect();
            for path in moved {
                let inode = names.remove(&path).unwrap();
                let rest = path.strip_prefix(from).unwrap();
                let target = if rest.as_os_str().is_empty() { PathBuf::from(to) } else { Path::new(to).join(rest) };
                names.insert(target, inode);
            }
        }
    }
}
