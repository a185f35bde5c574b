//! Tables as people write them.

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

/// Reading this text is an error with these words.
#[track_caller]
fn fails(text: &str, make: fn(Csv) -> Csv, expected: &[&str]) {
    let (_folder, path) = file(text);
    let message = make(csv(&path)).load().unwrap_err().to_string();
    for word in [&["table.csv"], expected].concat() {
        assert!(message.contains(word), "no {word:?} in: {message}");
    }
}

fn label(c: Csv) -> Csv {
    c.label("y")
}

#[test]
fn errors_name_file_line_and_column() {
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

#[test]
fn labels_that_are_numbers_were_sorted_as_text() {
    let labels = |lines: &[&str]| {
        let rows: Vec<String> = lines.iter().map(|label| format!("1,{label}\n")).collect();
        let (_folder, path) = file(&format!("x,y\n{}", rows.concat()));
        let set = csv(path).label("y").load().unwrap();
        (set.classes().to_vec(), set.labels().to_vec::<u32>().unwrap())
    };
    let of = |classes: &[&str], labels: &[u32]| {
        (classes.iter().map(|c| c.to_string()).collect::<Vec<_>>(), labels.to_vec())
    };
    assert_eq!(labels(&["10.0", "1.0", "2.0", "10.0"]), of(&["1.0", "2.0", "10.0"], &[2, 0, 1, 2]));
    assert_eq!(labels(&["1", "-1", "-10", "-2"]), of(&["-10", "-2", "-1", "1"], &[3, 2, 0, 1]));
    // One number is one class, and its first spelling the name.
    assert_eq!(
        labels(&["2.50", "1e1", "10", "2.5", "-0.0", "0"]),
        of(&["-0.0", "2.50", "1e1"], &[1, 2, 2, 1, 0, 0])
    );
    // Beyond what floats tell apart.
    let (large, next) = ("9007199254740992000", "9007199254740992001");
    assert_eq!(labels(&[next, large]), of(&[large, next], &[1, 0]));
    // One word, and all are text; whole numbers are classes as they are.
    assert_eq!(labels(&["10", "9", "none"]), of(&["10", "9", "none"], &[0, 1, 2]));
    assert_eq!(labels(&["10", "9", "nan"]), of(&["10", "9", "nan"], &[0, 1, 2]));
    assert_eq!(labels(&["10", "9", "007"]), of(&[], &[10, 9, 7]));
}

#[test]
fn doubled_columns_and_open_quotes_were_read_without_a_word() {
    fails("x,y,x,z,x\n1,a,2,3,4\n", label, &["columns 0 and 2 and 4", "\"x\""]);
    fails("x,y,y\n1,a,b\n", label, &["columns 1 and 2", "\"y\""]);
    fails("x,y\n1,a\n2,\"b\n3,c\n", label, &["line 3", "never closed"]);
    fails("x,y\n1,\"a\n2,\"b\"\n3,c\n", label, &["line 3", "text follows"]);
    fails("x,y\n1,a\n", |c| c.label("y").classes(&["a", "b", "a"]), &["\"a\" is named twice"]);
    fails("x,y\n1,a\n", |c| c.label("y").delimiter(b'"'), &["can't stand between columns"]);
    // Without a header there are no names to be doubled.
    let (_folder, path) = file("1,1,0\n2,2,1\n");
    assert_eq!(csv(path).header(false).label(2).load().unwrap().sample_shape(), [2]);
}

#[test]
fn a_table_of_many_classes_took_half_a_minute() {
    let rows: Vec<String> = (0..80_000).map(|i| format!("{i},name {}\n", i * 7919 % 80_000)).collect();
    let (_folder, path) = file(&format!("x,y\n{}", rows.concat()));
    let began = std::time::Instant::now();
    let set = csv(path).label("y").load().unwrap();
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
    assert_eq!((set.len(), set.classes().len()), (80_000, 80_000));
    let labels = set.labels().to_vec::<u32>().unwrap();
    for (row, text) in [(0, "name 0"), (1, "name 7919"), (79_999, "name 72081")] {
        assert_eq!(set.classes()[labels[row] as usize], text);
    }
    assert!(set.classes().is_sorted());
}
