//! Tables in CSV files.

use super::Dataset;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use ::csv::{ErrorKind, Position, ReaderBuilder, StringRecord, Trim};
use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

/// A column of a table: its name in the header, or its number, counted from 0.
#[derive(Clone, Debug, PartialEq, Eq)]
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

/// A CSV file, to be [loaded](Csv::load) once it is said what its columns are.
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

/// How a CSV file is to be read: see [`csv()`].
#[derive(Clone, Debug)]
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
    /// The column with each row's class. Whole numbers are classes as they are; any other values are sorted and counted,
    /// and become the data set's [`classes`](Dataset::classes).
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
    /// The file can't be read or has no rows; a column doesn't exist; there is neither a label nor a target; a row has
    /// another number of columns; a value is missing, is not a number, or is none of the classes. Errors of a row name its
    /// line.
    pub fn load(&self) -> Result<Dataset> {
        let (names, rows) = self.read()?;
        let table = Table { name: self.path.display().to_string(), names, missing: self.missing };
        let label = self.label.as_ref().map(|c| table.find(c)).transpose()?;
        let targets = table.find_all(&self.targets)?;
        if label.is_none() == targets.is_empty() {
            let what =
                if label.is_none() { "neither a label nor a target" } else { "a label and targets, too," };
            return Err(table.error(format!("{what} was named; call label(column) or targets([columns])")));
        }
        let mut features = table.find_all(&self.features)?;
        if features.is_empty() {
            features = (0..table.names.len()).filter(|i| label != Some(*i) && !targets.contains(i)).collect();
        }
        if features.is_empty() {
            return Err(table.error("has no columns of features beside the label".into()));
        }
        let x = table.numbers(&rows, &features)?;
        let Some(label) = label else {
            return Dataset::from_tensors(&table.name, &x, &table.numbers(&rows, &targets)?);
        };
        let (classes, labels) = table.classes(&rows, label, self.classes.as_deref())?;
        let labels = Tensor::from_vec(labels, [rows.len()], Device::Cpu)?;
        Ok(Dataset::from_tensors(&table.name, &x, &labels)?.with_classes(&classes))
    }

    /// The columns' names and the rows.
    fn read(&self) -> Result<(Vec<String>, Vec<Row>)> {
        let name = || self.path.display().to_string();
        let bytes = std::fs::read(&self.path).map_err(|e| Error::io(&self.path, e))?;
        // Empty lines are skipped, but a row's position is where they begin.
        let line = |at: &Position| {
            let rest = bytes.get(at.byte() as usize..).unwrap_or_default();
            let empty = rest.iter().take_while(|b| matches!(b, b'\r' | b'\n')).filter(|b| **b == b'\n');
            at.line() + empty.count() as u64
        };
        let failed = |e: ::csv::Error| {
            let message = match e.kind() {
                ErrorKind::UnequalLengths { pos: Some(at), expected_len, len } => {
                    format!("line {} has {len} columns, the lines before it have {expected_len}", line(at))
                }
                _ => e.to_string(),
            };
            Error::data(name(), message)
        };
        let mut builder = ReaderBuilder::new();
        builder.has_headers(self.header).delimiter(self.delimiter).trim(Trim::All);
        let mut reader = builder.from_reader(bytes.as_slice());
        let mut names: Vec<String> = match self.header {
            true => reader.headers().map_err(failed)?.iter().map(String::from).collect(),
            false => Vec::new(),
        };
        let mut rows = Vec::new();
        for record in reader.records() {
            let values = record.map_err(failed)?;
            rows.push(Row { line: values.position().map_or(0, line), values });
        }
        let Some(first) = rows.first() else {
            return Err(Error::data(name(), "has no rows of data"));
        };
        if names.is_empty() {
            names = (0..first.values.len()).map(|i| format!("column {i}")).collect();
        }
        Ok((names, rows))
    }
}

struct Row {
    /// The number of its line in the file; 1 for the first.
    line: u64,
    values: StringRecord,
}

struct Table {
    name: String,
    names: Vec<String>,
    missing: Option<f32>,
}

impl Table {
    fn error(&self, message: String) -> Error {
        Error::data(&self.name, message)
    }

    fn at(&self, row: &Row, column: usize, message: String) -> Error {
        let line = row.line;
        self.error(format!("line {line}, column {:?}: {message}", self.names[column]))
    }

    fn find(&self, column: &Column) -> Result<usize> {
        let found = match column {
            Column::Name(name) => self.names.iter().position(|n| n == name),
            Column::Number(number) => Some(*number).filter(|&n| n < self.names.len()),
        };
        found.ok_or_else(|| {
            let names = self.names.join(", ");
            self.error(format!("has no column {column}; its {} columns are {names}", self.names.len()))
        })
    }

    fn find_all(&self, columns: &[Column]) -> Result<Vec<usize>> {
        columns.iter().map(|c| self.find(c)).collect()
    }

    fn numbers(&self, rows: &[Row], columns: &[usize]) -> Result<Tensor> {
        let mut values = Vec::with_capacity(rows.len() * columns.len());
        for row in rows {
            for &column in columns {
                values.push(self.number(row, column)?);
            }
        }
        Tensor::from_vec(values, [rows.len(), columns.len()], Device::Cpu)
    }

    fn number(&self, row: &Row, column: usize) -> Result<f32> {
        let text = self.text(row, column);
        if MISSING.contains(&text.to_ascii_lowercase().as_str()) {
            return self.missing.ok_or_else(|| {
                let message =
                    format!("the value is missing ({text:?}); say what takes its place with fill_missing");
                self.at(row, column, message)
            });
        }
        match text.parse::<f32>() {
            Ok(value) if value.is_finite() => Ok(value),
            _ => {
                let message = format!(
                    "{text:?} is not a finite number; name the columns that are numbers with features"
                );
                Err(self.at(row, column, message))
            }
        }
    }

    fn text<'r>(&self, row: &'r Row, column: usize) -> &'r str {
        row.values.get(column).unwrap_or_default()
    }

    /// The names of the classes, and each row's.
    fn classes(
        &self,
        rows: &[Row],
        column: usize,
        given: Option<&[String]>,
    ) -> Result<(Vec<String>, Vec<u32>)> {
        for row in rows {
            if self.text(row, column).is_empty() {
                return Err(self.at(row, column, "the label is missing".into()));
            }
        }
        let classes = match given {
            Some(classes) => classes.to_vec(),
            None => {
                let numbers: Option<Vec<u32>> =
                    rows.iter().map(|row| self.text(row, column).parse().ok()).collect();
                if let Some(labels) = numbers {
                    return Ok((Vec::new(), labels));
                }
                let distinct: BTreeSet<&str> = rows.iter().map(|row| self.text(row, column)).collect();
                distinct.into_iter().map(String::from).collect()
            }
        };
        let label = |row: &Row| {
            let text = self.text(row, column);
            let found = classes.iter().position(|c| c == text);
            found.map(|i| i as u32).ok_or_else(|| {
                self.at(row, column, format!("{text:?} is none of the classes {}", classes.join(", ")))
            })
        };
        let labels = rows.iter().map(label).collect::<Result<_>>()?;
        Ok((classes, labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("table.csv");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    const IRIS: &str = "a, b ,kind,c\n1,2,oak,3\n4.5,-5e1,\"elm, wych\",6\n7,8,oak,9\n";

    #[test]
    fn columns_by_name_and_number_with_classes_from_strings() {
        let (_folder, path) = file(IRIS);
        for set in [csv(&path).label("kind"), csv(&path).label(2)].map(|c| c.load().unwrap()) {
            let expected = [1.0, 2.0, 3.0, 4.5, -50.0, 6.0, 7.0, 8.0, 9.0];
            assert_eq!(set.features().to_vec::<f32>().unwrap(), expected);
            assert_eq!(set.classes(), ["elm, wych", "oak"]);
            assert_eq!(set.labels().to_vec::<u32>().unwrap(), [1, 0, 1]);
        }
        let set = csv(&path).features(["b"]).targets(["c", "a"]).load().unwrap();
        assert_eq!((set.sample_shape(), set.targets()[0].dims()), (&[1][..], &[3, 2][..]));
        assert_eq!(set.labels().to_vec::<f32>().unwrap(), [3.0, 1.0, 6.0, 4.5, 9.0, 7.0]);
        let set = csv(&path).label("kind").classes(&["oak", "fir", "elm, wych"]).load().unwrap();
        assert_eq!(set.labels().to_vec::<u32>().unwrap(), [0, 2, 0]);
    }

    #[test]
    fn without_a_header_and_with_another_delimiter() {
        let (_folder, path) = file("1;2;3\n4;5;0\n");
        let set = csv(&path).header(false).delimiter(b';').label(2).load().unwrap();
        assert_eq!(set.features().to_vec::<f32>().unwrap(), [1.0, 2.0, 4.0, 5.0]);
        // whole numbers are classes as they are
        assert_eq!((set.labels().to_vec::<u32>().unwrap(), set.classes().len()), (vec![3, 0], 0));
    }

    #[test]
    fn errors_name_file_line_and_column() {
        let fails = |text: &str, make: fn(Csv) -> Csv, expected: &[&str]| {
            let (_folder, path) = file(text);
            let message = make(csv(&path)).load().unwrap_err().to_string();
            for word in [&["table.csv"], expected].concat() {
                assert!(message.contains(word), "no {word:?} in: {message}");
            }
        };
        let label = |c: Csv| c.label("y");
        fails("x,y\n1,a\n\n,b\n", label, &["line 4", "\"x\"", "missing", "fill_missing"]);
        fails("x,y\n1,a\nNaN,b\n", label, &["line 3", "missing"]);
        fails("x,y\n1,a\ntwo,b\n", label, &["line 3", "\"two\"", "not a finite number"]);
        fails("x,y\n1,a\n1e99,b\n", label, &["line 3", "not a finite number"]);
        fails("x,y\n1,\n", label, &["line 2", "label is missing"]);
        fails("x,y\n1,a\n\n\n1,a,3\n", label, &["line 5 has 3 columns", "have 2"]);
        fails("x,z\n1,a\n", label, &["no column \"y\"", "x, z"]);
        fails("x,y\n", label, &["no rows"]);
        fails("", label, &["no rows"]);
        fails("y\na\n", label, &["no columns of features"]);
        fails("x,y\n1,a\n", |c| c, &["label(column)"]);
        fails("x,y\n1,a\n", |c| c.label(2), &["no column 2"]);
        fails("x,y\n1,c\n", |c| c.label("y").classes(&["a", "b"]), &["line 2", "\"c\"", "a, b"]);
        assert!(csv("/nowhere/at/all.csv").label("y").load().unwrap_err().to_string().contains("all.csv"));
        let (_folder, path) = file("x,y\n,a\n2,b\n");
        let set = csv(path).label("y").fill_missing(-1.0).load().unwrap();
        assert_eq!(set.features().to_vec::<f32>().unwrap(), [-1.0, 2.0]);
    }
}
