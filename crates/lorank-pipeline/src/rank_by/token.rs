//! The tokens of an expression.

use super::error::InvalidRankBy;

/// A token.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Token {
    Number(f64),
    /// A bare name.
    Name(String),
    /// A field name in backquotes.
    Quoted(String),
    /// One of `+ - * / ( ) ,`.
    Sign(char),
    End,
}

/// A token and the 1-based position of its first character.
pub(super) type Placed = (Token, usize);

/// Splits a text into tokens, ending with [`Token::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Placed>, InvalidRankBy> {
    let chars: Vec<char> = text.chars().collect();
    let (mut tokens, mut place) = (Vec::new(), 0);
    while let Some(&first) = chars.get(place) {
        let start = place;
        let invalid = |problem: String| InvalidRankBy { at: start + 1, problem };
        let token = match first {
            _ if first.is_whitespace() => {
                place += 1;
                continue;
            }
            '+' | '-' | '*' | '/' | '(' | ')' | ',' => {
                place += 1;
                Token::Sign(first)
            }
            '`' => {
                let end = chars[start + 1..].iter().position(|c| *c == '`');
                let end = end.ok_or_else(|| invalid("unclosed backquote".to_owned()))?;
                place = start + end + 2;
                Token::Quoted(chars[start + 1..=start + end].iter().collect())
            }
            _ if first.is_ascii_digit() || first == '.' => {
                place += length_of_number(&chars[start..]);
                let digits: String = chars[start..place].iter().collect();
                let number = digits.parse().ok().filter(|number: &f64| number.is_finite());
                Token::Number(number.ok_or_else(|| invalid(format!("`{digits}` is not a number")))?)
            }
            _ if first.is_alphabetic() || first == '_' => {
                place += chars[start..].iter().take_while(|c| c.is_alphanumeric() || "_.".contains(**c)).count();
                Token::Name(chars[start..place].iter().collect())
            }
            other => {
                return Err(invalid(format!("unexpected `{other}`; quote special field names with backquotes")));
            }
        };
        tokens.push((token, start + 1));
    }
    tokens.push((Token::End, chars.len() + 1));
    Ok(tokens)
}

/// The length of a number: digits, a fraction and an exponent with its sign.
fn length_of_number(chars: &[char]) -> usize {
    let mut length = 0;
    while let Some(c) = chars.get(length) {
        let follows_exponent = length > 0 && matches!(chars[length - 1], 'e' | 'E');
        let belongs = c.is_ascii_alphanumeric() || *c == '.' || (matches!(c, '+' | '-') && follows_exponent);
        if !belongs {
            break;
        }
        length += 1;
    }
    length
}
