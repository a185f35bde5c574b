//! The table that is kept, and what has become worse since.

use crate::code::Code;
use std::collections::BTreeMap;
use std::fmt::Write;

/// Percentage points that a share may lose.
const POINTS: f64 = 5.0;

#[derive(Default)]
pub struct Table {
    pub rows: BTreeMap<String, Code>,
}

const COLUMNS: [&str; 9] = [
    "kernel",
    "VGPRs",
    "spills",
    "waves",
    "fmas in the hottest loop",
    "% of all",
    "% of vector",
    "LDS cycles per fma",
    "bytes per access",
];

impl Table {
    pub fn csv(&self) -> String {
        let mut s = format!("{}\n", COLUMNS.join(","));
        for (name, c) in &self.rows {
            let Code { vgprs, spills, waves, fmas, of_all, of_vector, lds, bytes } = c;
            let _ = writeln!(
                s,
                "{name},{vgprs},{spills},{waves},{fmas},{of_all:.1},{of_vector:.1},{lds:.2},{bytes:.1}"
            );
        }
        s
    }

    /// For people.
    pub fn text(&self) -> String {
        let wide = self.rows.keys().map(String::len).max().unwrap_or(0);
        let mut s = format!(
            "{:wide$}  VGPR spills waves  fmas  of all  of vector  LDS/fma  bytes/access\n",
            COLUMNS[0]
        );
        for (name, c) in &self.rows {
            let _ = writeln!(
                s,
                "{name:wide$}  {:>4} {:>6} {:>5} {:>5} {:>6.1}% {:>9.1}% {:>8.2} {:>13.1}",
                c.vgprs, c.spills, c.waves, c.fmas, c.of_all, c.of_vector, c.lds, c.bytes
            );
        }
        s
    }

    pub fn read(csv: &str) -> Result<Table, String> {
        let mut rows = BTreeMap::new();
        for line in csv.lines().skip(1) {
            let fields: Vec<&str> = line.split(',').collect();
            let &[name, vgprs, spills, waves, fmas, of_all, of_vector, lds, bytes] = &fields[..] else {
                return Err(format!("not a line of the table: {line}"));
            };
            let number = |s: &str| s.parse::<f64>().map_err(|_| format!("{s} is no number: {line}"));
            let code = Code {
                vgprs: number(vgprs)? as u64,
                spills: number(spills)? as u64,
                waves: number(waves)? as u64,
                fmas: number(fmas)? as usize,
                of_all: number(of_all)?,
                of_vector: number(of_vector)?,
                lds: number(lds)?,
                bytes: number(bytes)?,
            };
            rows.insert(name.to_string(), code);
        }
        Ok(Table { rows })
    }

    /// What this table has that the kept one would not allow, a line each.
    pub fn faults(&self, kept: &Table) -> Vec<String> {
        let mut faults = Vec::new();
        for (name, now) in &self.rows {
            if now.spills > 0 {
                faults.push(format!("{name}: spills {} registers", now.spills));
            }
            let Some(before) = kept.rows.get(name) else {
                faults.push(format!("{name}: not in the table; --write writes it anew"));
                continue;
            };
            for (what, now, before) in
                [("of all", now.of_all, before.of_all), ("of vector", now.of_vector, before.of_vector)]
            {
                if now < before - POINTS {
                    faults.push(format!("{name}: multiply-adds were {before:.1}% {what}, now {now:.1}%"));
                }
            }
            if now.lds > before.lds + POINTS / 100.0 {
                faults.push(format!("{name}: {:.2} LDS cycles per fma, before {:.2}", now.lds, before.lds));
            }
            // A load narrower by more than a twentieth.
            if now.bytes < before.bytes * (1.0 - POINTS / 100.0) {
                faults.push(format!("{name}: {:.1} bytes per access, before {:.1}", now.bytes, before.bytes));
            }
            if now.waves < before.waves.min(8) {
                faults.push(format!("{name}: {} waves, before {}", now.waves, before.waves));
            }
        }
        let gone = kept.rows.keys().filter(|name| !self.rows.contains_key(*name));
        faults.extend(
            gone.map(|name| format!("{name}: in the table, but not computed; --write writes it anew")),
        );
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(of_vector: f64, spills: u64) -> Table {
        let code =
            Code { vgprs: 8, spills, waves: 16, fmas: 64, of_all: 60.0, of_vector, lds: 1.0, bytes: 16.0 };
        Table { rows: BTreeMap::from([("a: b".to_string(), code)]) }
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let kept = table(90.0, 0);
        assert_eq!(Table::read(&kept.csv()).unwrap().rows, kept.rows);
        assert!(Table::read("kernel\na,1").is_err());
    }

    #[test]
    fn what_is_worse_is_found() {
        let kept = table(90.0, 0);
        assert!(table(85.5, 0).faults(&kept).is_empty());
        assert_eq!(table(84.5, 0).faults(&kept).len(), 1);
        assert_eq!(table(90.0, 1).faults(&kept).len(), 1);
        assert_eq!(Table::default().faults(&kept).len(), 1);
        assert_eq!(kept.faults(&Table::default()).len(), 1);
    }
}
