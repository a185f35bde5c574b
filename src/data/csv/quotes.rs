//! Quotes in CSV files, which parsers take as they come: a quote that is never closed swallows the rest of the file.

/// That every quoted value is closed, and that nothing but blanks stands between its quote and the next delimiter. Gives the
/// line of what is wrong, and what that is.
pub(super) fn check(content: &[u8], delimiter: u8) -> Result<(), (usize, String)> {
    const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";
    enum State {
        Start,
        Plain,
        Quoted,
        Closed,
    }
    let (mut state, mut line, mut opened) = (State::Start, 1, 1);
    for &byte in content.strip_prefix(BYTE_ORDER_MARK).unwrap_or(content) {
        let ends = byte == delimiter || matches!(byte, b'\n' | b'\r');
        state = match state {
            State::Quoted if byte == b'"' => State::Closed,
            State::Quoted => State::Quoted,
            // Two quotes stand for one.
            State::Closed if byte == b'"' => State::Quoted,
            _ if ends => State::Start,
            State::Start if byte == b'"' => {
                opened = line;
                State::Quoted
            }
            State::Closed if matches!(byte, b' ' | b'\t') => State::Plain,
            State::Closed => {
                let message =
                    "text follows the quote that closes a value; a quote within a value is written twice";
                return Err((line, message.into()));
            }
            State::Start | State::Plain => State::Plain,
        };
        line += usize::from(byte == b'\n');
    }
    match state {
        State::Quoted => Err((opened, "a quote is opened here and never closed".into())),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn quotes_that_are_closed_are_fine() {
        for text in [
            "",
            "a,b\n",
            "\"a\",b\n\"c \"\"d\"\" \n e\",f",
            "\"a\" ,b\r\n\"\"\r\n\"\",\"\"",
            // Within a value that does not begin with one, a quote is a character (5 feet 6 inches).
            "5'6\",b\n a\"b\"c,d",
            "\u{feff}\"a\",b",
        ] {
            assert_eq!(check(text.as_bytes(), b','), Ok(()), "{text:?}");
        }
    }

    #[test]
    fn quotes_that_are_not_closed_are_errors_of_their_line() {
        for (text, line, words) in [
            ("a,b\n\"c,d\ne,f\n", 2, "never closed"),
            ("a\n\n\nb,\"", 4, "never closed"),
            ("\u{feff}\"a,b\n", 1, "never closed"),
            ("a\n\"b\"\"\n", 2, "never closed"),
            ("a\n\"b,1\n\"c\",2\n", 3, "text follows"),
        ] {
            let (found, message) = check(text.as_bytes(), b',').unwrap_err();
            assert!(found == line && message.contains(words), "{text:?}: line {found}: {message}");
        }
    }
}
