// SPDX-License-Identifier: GPL-2.0

//! The mendfs filesystem after a power failure, and its files.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use mendfs::check;
use mendfs::device;
use mendfs::format::{Block, Extent, Inode, Record, BLOCK_SHIFT, BLOCK_SIZE, ROOT};
use mendfs::media::Media;
use mendfs::report::{Class, Finding};

use crate::model::file::Kind;
use crate::model::{Model, PLACES};
use crate::operation::Id;
use crate::state;

use super::cache::{Lines, LINE};

/// The memory after a power failure: the durable contents with some lines replaced.
pub struct Remains<'a> {
    durable: &'a [u8],
    blocks: BTreeMap<u64, Box<Block>>,
}

impl<'a> Remains<'a> {
    pub fn new(durable: &'a [u8], lines: &Lines) -> Self {
        let mut remains = Self {
            durable,
            blocks: BTreeMap::new(),
        };

        for (at, bytes) in lines {
            let number = (*at >> BLOCK_SHIFT) as u64;
            let offset = at % BLOCK_SIZE;
            let block = remains.blocks.entry(number).or_insert_with(|| {
                let mut block = Box::new([0; BLOCK_SIZE]);

                block.copy_from_slice(&durable[at - offset..][..BLOCK_SIZE]);
                block
            });

            block[offset..offset + LINE].copy_from_slice(bytes);
        }
        remains
    }

    /// All bytes of the memory.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.durable.to_vec();

        for (number, block) in &self.blocks {
            let at = (*number as usize) << BLOCK_SHIFT;

            bytes[at..at + BLOCK_SIZE].copy_from_slice(&**block);
        }
        bytes
    }
}

impl Media for Remains<'_> {
    fn blocks(&self) -> u64 {
        (self.durable.len() >> BLOCK_SHIFT) as u64
    }

    fn read(&self, block: u64, bytes: &mut [u8]) -> io::Result<()> {
        for (number, to) in (block..).zip(bytes.chunks_mut(BLOCK_SIZE)) {
            let at = (number as usize) << BLOCK_SHIFT;
            let from = match self.blocks.get(&number) {
                Some(block) => &block[..],
                None => self.durable.get(at..).unwrap_or(&[]),
            };

            to.copy_from_slice(from.get(..to.len()).ok_or(io::ErrorKind::UnexpectedEof)?);
        }
        Ok(())
    }

    fn write(&mut self, _block: u64, _bytes: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The properties of a file with a name, without the contents of a regular file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    kind: Kind,
    mode: u32,
    links: u64,
    attributes: BTreeMap<String, Vec<u8>>,
    target: Vec<u8>,
    /// The first path of the same file.
    first: String,
}

/// All files below a folder, by their paths in the folder.
pub type Listing = BTreeMap<String, Entry>;

/// The listing of the folder that a model describes.
pub fn expected(model: &Model) -> Listing {
    let mut listing = Listing::new();
    let mut firsts = BTreeMap::new();

    for (number, place) in PLACES.iter().enumerate() {
        let directory = Entry {
            kind: Kind::Directory,
            mode: 0o755,
            links: 2 + model.directories_in(number) as u64,
            attributes: BTreeMap::new(),
            target: Vec::new(),
            first: (*place).into(),
        };

        listing.insert((*place).into(), directory);
    }
    for (path, id) in paths(model) {
        let file = &model.files[&id];
        let attributes = file.attributes.iter();
        let is_link = file.kind == Kind::Symlink;
        let entry = Entry {
            kind: file.kind,
            mode: file.mode,
            links: file.links,
            attributes: attributes
                .map(|(number, value)| (state::attribute(*number), value.clone()))
                .collect(),
            target: is_link.then(|| file.data.clone()).unwrap_or_default(),
            first: firsts.entry(id).or_insert_with(|| path.clone()).clone(),
        };

        listing.insert(path, entry);
    }
    listing
}

/// Describes the differences of two listings.
pub fn difference(found: &Listing, expected: &Listing) -> String {
    let paths: BTreeSet<_> = found.keys().chain(expected.keys()).collect();
    let differ = paths
        .into_iter()
        .filter_map(|path| match (found.get(path), expected.get(path)) {
            (Some(_), None) => Some(format!("'{path}' should not exist")),
            (None, Some(_)) => Some(format!("'{path}' does not exist")),
            (found, expected) if found != expected => Some(format!("'{path}' differs")),
            _ => None,
        });

    differ.collect::<Vec<_>>().join(", ")
}

/// The files of a model by their paths.
pub fn paths(model: &Model) -> BTreeMap<String, Id> {
    let names = model.names.iter().enumerate();

    names
        .filter_map(|(name, id)| {
            let path = state::path("".as_ref(), name);

            Some((path.to_string_lossy().into_owned(), (*id)?))
        })
        .collect()
}

/// The records of a filesystem.
#[derive(Default)]
pub struct Image {
    inodes: BTreeMap<u64, Inode>,
    names: BTreeMap<u64, BTreeMap<String, u64>>,
    attributes: BTreeMap<u64, BTreeMap<String, Vec<u8>>>,
    targets: BTreeMap<u64, Vec<u8>>,
    extents: BTreeMap<u64, Vec<Extent>>,
}

impl Image {
    /// Reads a filesystem. fsck must find nothing to repair. If `can_be_torn` is true, the first
    /// superblock can be torn.
    pub fn read(media: &dyn Media, can_be_torn: bool) -> Result<Self, String> {
        let report = check::check(media, device::now())?.report;
        let is_allowed = |finding: &Finding| {
            finding.class == Class::Note || can_be_torn && finding.place == "superblock 0"
        };

        if !report.is_clean() && !report.findings.iter().all(is_allowed) {
            let findings: Vec<_> = report.findings.iter().map(ToString::to_string).collect();

            return Err(format!("fsck finds {}", findings.join("; ")));
        }

        let mut image = Self::default();

        check::for_each_record(media, |number, owner, record| {
            image.add(number, owner, record)
        })?;
        Ok(image)
    }

    fn add(&mut self, number: u64, owner: u64, record: &Record<'_>) {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();

        match *record {
            Record::Inode(inode) => {
                self.inodes.insert(number, inode);
            }
            Record::Extent(extent) => self.extents.entry(owner).or_default().push(extent),
            Record::Name { target, name, .. } => {
                let names = self.names.entry(owner).or_default();

                names.insert(text(name), target);
            }
            Record::Attribute { name, value } => {
                let attributes = self.attributes.entry(owner).or_default();

                attributes.insert(text(name), value.into());
            }
            Record::Target(target) => {
                self.targets.insert(owner, target.into());
            }
            Record::Bad { .. } | Record::Chunk(_) => {}
        }
    }

    /// The inode with a path, relative to a directory.
    fn find(&self, directory: u64, path: &str) -> Option<u64> {
        path.split('/')
            .filter(|name| !name.is_empty())
            .try_fold(directory, |at, name| {
                self.names.get(&at)?.get(name).copied()
            })
    }

    /// The inode of a folder in the root directory.
    pub fn folder(&self, name: &str) -> Result<u64, String> {
        self.find(ROOT, name)
            .ok_or_else(|| format!("folder {name} does not exist"))
    }

    /// Lists all files below a folder.
    pub fn list(&self, folder: u64) -> Result<Listing, String> {
        let mut listing = Listing::new();
        let mut found = vec![(String::new(), folder)];
        let mut firsts = BTreeMap::new();
        let mut paths = BTreeMap::new();

        // The loop ends, because fsck has checked that each directory has only one name.
        while let Some((path, number)) = found.pop() {
            for (name, target) in self.names.get(&number).into_iter().flatten() {
                let path = match path.as_str() {
                    "" => name.clone(),
                    path => format!("{path}/{name}"),
                };

                found.push((path, *target));
            }
            paths.insert(path, number);
        }
        for (path, number) in paths {
            let inode = self.inodes.get(&number).ok_or("an inode does not exist")?;
            let attributes = self.attributes.get(&number).into_iter().flatten();
            let entry = Entry {
                kind: match inode.kind() {
                    Inode::DIRECTORY => Kind::Directory,
                    Inode::SYMLINK => Kind::Symlink,
                    _ => Kind::Regular,
                },
                mode: inode.mode & 0o7777,
                links: inode.links.into(),
                attributes: attributes
                    .filter(|(name, _)| name.starts_with("user."))
                    .map(|(name, value)| (name.clone(), value.clone()))
                    .collect(),
                target: self.targets.get(&number).cloned().unwrap_or_default(),
                first: firsts.entry(number).or_insert_with(|| path.clone()).clone(),
            };

            listing.insert(path, entry);
        }
        Ok(listing)
    }

    /// The contents of a file.
    pub fn contents(&self, media: &dyn Media, folder: u64, path: &str) -> Result<Vec<u8>, String> {
        let number = self.find(folder, path).ok_or("it does not exist")?;
        let size = self.inodes.get(&number).map_or(0, |inode| inode.size) as usize;
        let mut bytes = vec![0; size];

        for extent in self.extents.get(&number).into_iter().flatten() {
            let blocks = (extent.file_block..extent.file_end()).zip(extent.block..);

            for (file_block, block) in blocks {
                let start = (file_block as usize) << BLOCK_SHIFT;

                if start < size {
                    let end = size.min(start + BLOCK_SIZE);
                    let block = media.read_block(block).map_err(|e| e.to_string())?;

                    bytes[start..end].copy_from_slice(&block[..end - start]);
                }
            }
        }
        Ok(bytes)
    }
}
