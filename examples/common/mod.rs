//! What the examples share: which device they run on, where digits are from, and where pictures go.

// Every example compiles this module and uses its own part of it.
#![allow(dead_code)]

use clap::{Args, ValueEnum};
use std::path::{Path, PathBuf};
use wgrad::data::{self, Dataset};
use wgrad::prelude::*;

/// A device by its name, of which it prints what there is to know.
pub fn device(name: &str) -> Result<Device> {
    let device: Device = name.parse()?;
    let info = device.info()?;
    println!("device {device}: {}, {} ({}), {}", info.name, info.kind, info.backend, info.driver);
    Ok(device)
}

/// Where handwritten digits are from: arguments of a program.
#[derive(Args)]
pub struct Digits {
    /// A folder with the four files of MNIST, or of a data set in its format.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// What to train on.
    #[arg(long, value_enum, default_value = "mnist")]
    dataset: Source,
}

#[derive(Clone, Copy, ValueEnum, PartialEq)]
enum Source {
    Mnist,
    Synthetic,
}

impl Digits {
    /// Those to train on, and those to test with.
    pub fn load(&self) -> Result<(Dataset, Dataset)> {
        match (self.dataset, &self.data) {
            (Source::Synthetic, _) => {
                eprintln!("these are synthetic digits, NOT MNIST");
                data::synthetic::digits(60_000, 10_000, 0).into_datasets()
            }
            (Source::Mnist, Some(folder)) => data::mnist::load_from(folder),
            (Source::Mnist, None) => data::mnist::load_or_synthetic(),
        }
    }
}

/// A folder for pictures, which is made.
#[cfg(feature = "plot")]
pub struct Pictures(PathBuf);

#[cfg(feature = "plot")]
impl Pictures {
    pub fn new(folder: &Path) -> Result<Pictures> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        Ok(Pictures(folder.into()))
    }

    /// Writes a picture, and prints where it is.
    pub fn save(&self, picture: wgrad::plot::Picture, name: &str) -> Result<()> {
        let file = self.0.join(name);
        picture.save(&file)?;
        println!("wrote {}", file.display());
        Ok(())
    }
}
