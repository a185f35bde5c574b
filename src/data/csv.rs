//! Tables in CSV files.

mod quotes;

use super::Dataset;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::io::budget::read_file;
use crate::tensor::Tensor;
use ::csv::{ErrorKind, Position, Reader, ReaderBuilder, StringRecord, Trim};
use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// A column of a table: its name in the header, or its number, counted from 0 (feature `csv`). Methods of [`Csv`] take either:
/// `.label("species")`, `.label(4)`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Column {
    /// By its name.
    Name(String),
    /// By its number.
    Number(usize),
}

impl From<&str> for Column {
    fn from(name: &str) -> Column {
        Column::Name(name.into())
    }
}

impl From<usize> for Column {
    fn from(number: usize) -> Column {
        Column::Number(number)
    }
}

impl fmt::Display for Column {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Column::Name(name) => write!(f, "{name:?}"),
            Column::Number(number) => write!(f, "{number}"),
        }
    }
}

/// A CSV file, to be [loaded](Csv::load) once it is said what its columns are (feature `csv`).
///
/// ```
/// use wgrad::data;
/// # fn main() -> wgrad::Result<()> {
/// # let folder = tempfile::tempdir().map_err(|e| wgrad::Error::io("folder", e))?;
/// let path = folder.path().join("iris.csv");
/// # let text = "length,width,species\n5.1,3.5,setosa\n7.0,3.2,versicolor\n6.3,3.3,setosa\n";
/// # std::fs::write(&path, text).map_err(|e| wgrad::Error::io(&path, e))?;
/// let iris = data::csv(path).label("species").load()?;
/// assert_eq!(iris.sample_shape(), [2]);
/// assert_eq!(iris.classes(), ["setosa", "versicolor"]);
/// assert_eq!(iris.labels().to_vec::<u32>()?, [0, 1, 0]);
/// # Ok(()) }
/// ```
pub fn csv(path: impl AsRef<Path>) -> Csv {
    Csv {
        path: path.as_ref().into(),
        header: true,
        delimiter: b',',
        label: None,
        targets: Vec::new(),
        features: Vec::new(),
        classes: None,
        missing: None,
    }
}

/// How a CSV file is to be read: see [`csv()`], where there is an example (feature `csv`).
#[derive(Clone, Debug)]
#[must_use]
pub struct Csv {
    path: PathBuf,
    header: bool,
    delimiter: u8,
    label: Option<Column>,
    targets: Vec<Column>,
    features: Vec<Column>,
    classes: Option<Vec<String>>,
    missing: Option<f32>,
}

/// What people write where there is no value.
const MISSING: [&str; 6] = ["", "na", "n/a", "nan", "null", "?"];

impl Csv {
    /// The column with each row's class. Whole numbers are classes as they are; any other values are sorted and counted, as
    /// numbers where all are numbers (1.0, 2.5, 10.0), else as text, and become the data set's
    /// [`classes`](Dataset::classes).
    pub fn label(mut self, column: impl Into<Column>) -> Csv {
        self.label = Some(column.into());
        self
    }

    /// The classes in the order in which they are to be counted: for a test set whose rows may lack one.
    pub fn classes(mut self, classes: &[impl AsRef<str>]) -> Csv {
        self.classes = Some(classes.iter().map(|c| c.as_ref().to_string()).collect());
        self
    }

    /// Columns of numbers to be predicted, instead of a class: targets `[rows, columns]`, f32.
    pub fn targets<C: Into<Column>>(mut self, columns: impl IntoIterator<Item = C>) -> Csv {
        self.targets = columns.into_iter().map(Into::into).collect();
        self
    }

    /// The columns of numbers to predict from; all others, where nothing is said.
    pub fn features<C: Into<Column>>(mut self, columns: impl IntoIterator<Item = C>) -> Csv {
        self.features = columns.into_iter().map(Into::into).collect();
        self
    }

    /// Whether the first line has the columns' names, as it does where nothing is said.
    pub fn header(mut self, header: bool) -> Csv {
        self.header = header;
        self
    }

    /// What stands between columns, in place of the comma: `b';'`, `b'\t'`.
    pub fn delimiter(mut self, delimiter: u8) -> Csv {
        self.delimiter = delimiter;
        self
    }

    /// The number that takes the place of missing ones (nothing, NA, N/A, NaN, null or ?), which are errors otherwise.
    pub fn fill_missing(mut self, value: f32) -> Csv {
        self.missing = Some(value);
        self
    }

    /// The table in memory: features `[rows, columns]`, f32, with labels `[rows]`, u32, or targets `[rows, columns]`, f32.
    ///
    /// # Errors
    ///
    /// The file can't be read or has no rows; two columns have one name, or a column doesn't exist; there is neither a label
    /// nor a target; a row has another number of columns; a quote is never closed, or text follows a quoted value; a value is
    /// missing, is not a number, or is none of the classes. Errors of a row name its line.
    pub fn load(&self) -> Result<Dataset> {
        let (content, _) = read_file(&self.path)?;
        let table = Table { csv: self, name: self.path.display().to_string(), content };
        table.load().map_err(|e| e.of_file(&table.name))
    }

    fn check(&self) -> Result<()> {
        if matches!(self.delimiter, b'"' | b'\n' | b'\r') {
            let message = format!("{:?} can't stand between columns", char::from(self.delimiter));
            return Err(Error::argument("Csv::delimiter", message));
        }
        let classes = self.classes.as_deref().unwrap_or_default();
        match doubled(classes) {
            Some(class) => Err(Error::argument("Csv::classes", format!("{class:?} is named twice"))),
            None => Ok(()),
        }
    }
}

/// The first of some names that stands among them a second time.
fn doubled(names: &[String]) -> Option<&String> {
    let mut seen = HashSet::new();
    names.iter().find(|&name| !seen.insert(name))
}

/// A file while it is read.
struct Table<'a> {
    csv: &'a Csv,
    name: String,
    content: Vec<u8>,
}

/// The columns that are asked for, by number.
struct Columns {
    names: Vec<String>,
    label: Option<usize>,
    targets: Vec<usize>,
    features: Vec<usize>,
}

impl Table<'_> {
    fn error(&self, message: String) -> Error {
        Error::data(&self.name, message)
    }

    fn load(&self) -> Result<Dataset> {
        self.csv.check()?;
        if let Err((line, message)) = quotes::check(&self.content, self.csv.delimiter) {
            return Err(self.error(format!("line {line}: {message}")));
        }
        let columns = self.columns()?;
        let (mut features, mut targets, mut rows) = (Vec::new(), Vec::new(), 0);
        // As they are, as long as all are whole numbers.
        let mut whole = columns.label.filter(|_| self.csv.classes.is_none()).map(|_| Vec::new());
        self.rows(|row| {
            rows += 1;
            self.numbers(row, &columns, &columns.features, &mut features)?;
            self.numbers(row, &columns, &columns.targets, &mut targets)?;
            if let Some(label) = columns.label {
                let number = self.label(row, &columns, label)?.parse::<u32>().ok();
                whole = match (whole.take(), number) {
                    (Some(mut labels), Some(number)) => {
                        push(&mut labels, number)?;
                        Some(labels)
                    }
                    _ => None,
                };
            }
            Ok(())
        })?;
        if rows == 0 {
            return Err(self.error("has no rows of data".into()));
        }
        let table = |values, columns: &[usize]| Tensor::from_vec(values, [rows, columns.len()], Device::Cpu);
        let x = table(features, &columns.features)?;
        let Some(label) = columns.label else {
            return Dataset::from_tensors(&self.name, &x, &table(targets, &columns.targets)?);
        };
        let (classes, labels) = match whole {
            Some(labels) => (Vec::new(), labels),
            None => self.classes(&columns, label, rows)?,
        };
        let labels = Tensor::from_vec(labels, [rows], Device::Cpu)?;
        Ok(Dataset::from_tensors(&self.name, &x, &labels)?.with_classes(&classes))
    }

    fn reader(&self) -> Reader<&[u8]> {
        let mut builder = ReaderBuilder::new();
        builder.has_headers(self.csv.header).delimiter(self.csv.delimiter).trim(Trim::All);
        builder.from_reader(self.content.as_slice())
    }

    /// Calls `f` with each row.
    fn rows(&self, mut f: impl FnMut(&StringRecord) -> Result<()>) -> Result<()> {
        let (mut reader, mut row) = (self.reader(), StringRecord::new());
        while reader.read_record(&mut row).map_err(|e| self.failed(e))? {
            f(&row)?;
        }
        Ok(())
    }

    fn columns(&self) -> Result<Columns> {
        let names = match self.csv.header {
            true => {
                let header = self.reader().headers().map_err(|e| self.failed(e))?.clone();
                let names: Vec<String> = header.iter().map(String::from).collect();
                if let Some(name) = doubled(&names) {
                    let numbers: Vec<String> =
                        (0..names.len()).filter(|&i| names[i] == *name).map(|i| i.to_string()).collect();
                    let message = format!(
                        "columns {} are all named {name:?}; give each a name of its own",
                        numbers.join(" and ")
                    );
                    return Err(self.error(message));
                }
                names
            }
            false => {
                let mut first = StringRecord::new();
                self.reader().read_record(&mut first).map_err(|e| self.failed(e))?;
                (0..first.len()).map(|i| format!("column {i}")).collect()
            }
        };
        let mut columns = Columns { names, label: None, targets: Vec::new(), features: Vec::new() };
        if columns.names.is_empty() {
            return Err(self.error("has no rows of data".into()));
        }
        columns.label = self.csv.label.as_ref().map(|c| self.find(&columns.names, c)).transpose()?;
        columns.targets = self.find_all(&columns.names, &self.csv.targets)?;
        if columns.label.is_none() == columns.targets.is_empty() {
            let what = match columns.label {
                None => "neither a label nor a target",
                Some(_) => "a label and targets, too,",
            };
            return Err(self.error(format!("{what} was named; call label(column) or targets([columns])")));
        }
        columns.features = self.find_all(&columns.names, &self.csv.features)?;
        if columns.features.is_empty() {
            let given: HashSet<usize> = columns.targets.iter().copied().chain(columns.label).collect();
            columns.features = (0..columns.names.len()).filter(|i| !given.contains(i)).collect();
        }
        if columns.features.is_empty() {
            return Err(self.error("has no columns of features beside the label".into()));
        }
        Ok(columns)
    }

    fn find(&self, names: &[String], column: &Column) -> Result<usize> {
        let found = match column {
            Column::Name(name) => names.iter().position(|n| n == name),
            Column::Number(number) => Some(*number).filter(|&n| n < names.len()),
        };
        found.ok_or_else(|| {
            self.error(format!("has no column {column}; its {} columns are {}", names.len(), listed(names)))
        })
    }

    fn find_all(&self, names: &[String], columns: &[Column]) -> Result<Vec<usize>> {
        columns.iter().map(|c| self.find(names, c)).collect()
    }

    fn numbers(&self, row: &StringRecord, of: &Columns, columns: &[usize], out: &mut Vec<f32>) -> Result<()> {
        columns.iter().try_for_each(|&column| push(out, self.number(row, of, column)?))
    }

    fn number(&self, row: &StringRecord, of: &Columns, column: usize) -> Result<f32> {
        let text = row.get(column).unwrap_or_default();
        match text.parse::<f32>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ if MISSING.iter().any(|missing| missing.eq_ignore_ascii_case(text)) => {
                self.csv.missing.ok_or_else(|| {
                    let message = format!(
                        "the value is missing ({text:?}); say what takes its place with fill_missing"
                    );
                    self.at(row, of, column, message)
                })
            }
            _ => {
                let message = format!(
                    "{text:?} is not a finite number; name the columns that are numbers with features"
                );
                Err(self.at(row, of, column, message))
            }
        }
    }

    fn label<'r>(&self, row: &'r StringRecord, of: &Columns, column: usize) -> Result<&'r str> {
        match row.get(column).unwrap_or_default() {
            "" => Err(self.at(row, of, column, "the label is missing".into())),
            text => Ok(text),
        }
    }

    /// The names of the classes, and each row's.
    fn classes(&self, of: &Columns, column: usize, rows: usize) -> Result<(Vec<String>, Vec<u32>)> {
        let mut labels = Vec::new();
        labels.try_reserve_exact(rows).map_err(|_| no_room(rows))?;
        if let Some(classes) = &self.csv.classes {
            let places: HashMap<&str, u32> = classes.iter().map(String::as_str).zip(0..).collect();
            self.rows(|row| {
                let text = self.label(row, of, column)?;
                let place = places.get(text).ok_or_else(|| {
                    self.at(row, of, column, format!("{text:?} is none of the classes {}", listed(classes)))
                })?;
                labels.push(*place);
                Ok(())
            })?;
            return Ok((classes.clone(), labels));
        }
        // In the order in which they appear, which is made that of their names, or of the numbers that they are.
        let mut places: HashMap<String, u32> = HashMap::new();
        self.rows(|row| {
            let text = self.label(row, of, column)?;
            let next = places.len() as u32;
            let place = match places.get(text) {
                Some(place) => *place,
                None => *places.entry(text.to_string()).or_insert(next),
            };
            labels.push(place);
            Ok(())
        })?;
        let mut found: Vec<(String, u32)> = places.into_iter().collect();
        found.sort_unstable_by_key(|(_, place)| *place);
        let texts: Vec<String> = found.into_iter().map(|(text, _)| text).collect();
        let whole: Option<Vec<i128>> = texts.iter().map(|text| text.parse().ok()).collect();
        let number = |text: &String| text.parse::<f64>().ok().filter(|n| n.is_finite());
        let (classes, sorted) = match (whole, texts.iter().map(number).collect::<Option<Vec<f64>>>()) {
            (Some(numbers), _) => in_order(&texts, &numbers),
            (None, Some(numbers)) => in_order(&texts, &numbers),
            (None, None) => in_order(&texts, &texts),
        };
        labels.iter_mut().for_each(|label| *label = sorted[*label as usize]);
        Ok((classes, labels))
    }

    fn at(&self, row: &StringRecord, of: &Columns, column: usize, message: String) -> Error {
        let line = row.position().map_or(0, |at| self.line(at));
        self.error(format!("line {line}, column {:?}: {message}", of.names[column]))
    }

    /// Empty lines are skipped, but a row's position is where they begin.
    fn line(&self, at: &Position) -> u64 {
        let rest = self.content.get(at.byte() as usize..).unwrap_or_default();
        let empty = rest.iter().take_while(|b| matches!(b, b'\r' | b'\n')).filter(|b| **b == b'\n');
        at.line() + empty.count() as u64
    }

    fn failed(&self, e: ::csv::Error) -> Error {
        let message = match e.kind() {
            ErrorKind::UnequalLengths { pos: Some(at), expected_len, len } => {
                format!("line {} has {len} columns, the lines before it have {expected_len}", self.line(at))
            }
            ErrorKind::Utf8 { pos: Some(at), err } => {
                format!("line {}, column {}: is no UTF-8; save it as UTF-8", self.line(at), err.field())
            }
            _ => e.to_string(),
        };
        self.error(message)
    }
}

/// Names in the order of their keys, each key's first name only; and which of them each name became.
fn in_order<K: PartialOrd>(names: &[String], keys: &[K]) -> (Vec<String>, Vec<u32>) {
    let mut order: Vec<usize> = (0..names.len()).collect();
    // Numbers are finite here: all can be compared. The sort is stable, so that of equal ones the first comes first.
    order.sort_by(|&a, &b| keys[a].partial_cmp(&keys[b]).unwrap_or(Ordering::Equal));
    let (mut classes, mut places, mut last) = (Vec::new(), vec![0; names.len()], None);
    for i in order {
        // One number is one class, however it is written.
        if last.is_none_or(|last: usize| keys[last] != keys[i]) {
            classes.push(names[i].clone());
            last = Some(i);
        }
        places[i] = classes.len() as u32 - 1;
    }
    (classes, places)
}

/// Names with commas between, of which a reader wants to see so many.
fn listed(names: &[String]) -> String {
    const MOST: usize = 40;
    let shown = names.iter().take(MOST).map(String::as_str).collect::<Vec<_>>().join(", ");
    if names.len() > MOST { format!("{shown} and {} more", names.len() - MOST) } else { shown }
}

fn no_room(rows: usize) -> Error {
    Error::OutOfMemory { device: "cpu".into(), message: format!("no room for the values of {rows} rows") }
}

fn push<T>(values: &mut Vec<T>, value: T) -> Result<()> {
    if values.len() == values.capacity() {
        values.try_reserve(1).map_err(|_| no_room(values.len()))?;
    }
    values.push(value);
    Ok(())
}

#[cfg(test)]
mod tests;
