//! A recursive-descent parser for expressions, bounded in length and depth.

use super::error::InvalidRankBy;
use super::expression::{Expression, FUNCTIONS, Function, Operator};
use super::name::Name;
use super::token::{Placed, Token, tokens};

/// The maximum length of an expression, in bytes.
pub(super) const BYTES_MAX: usize = 1_024;
/// The maximum nesting of brackets, calls and signs.
pub(super) const DEPTH_MAX: usize = 32;

pub(super) fn parse(text: &str) -> Result<Expression, InvalidRankBy> {
    if text.len() > BYTES_MAX {
        let problem = format!("the expression has {} bytes; the maximum is {}", text.len(), BYTES_MAX);
        return Err(InvalidRankBy { at: BYTES_MAX + 1, problem });
    }
    let mut parser = Parser { tokens: tokens(text)?, place: 0, depth: 0 };
    let expression = parser.sum()?;
    match parser.next() {
        (Token::End, _) => Ok(expression),
        found => Err(unexpected(&found, "an operator or the end")),
    }
}

struct Parser {
    tokens: Vec<Placed>,
    place: usize,
    depth: usize,
}

impl Parser {
    fn peek(&self) -> &Placed {
        &self.tokens[self.place]
    }

    /// Takes the next token. Never moves past the end.
    fn next(&mut self) -> Placed {
        let token = self.peek().clone();
        if token.0 != Token::End {
            self.place += 1;
        }
        token
    }

    /// Takes the next token if it is one of these signs.
    fn sign(&mut self, signs: &[char]) -> Option<char> {
        let Token::Sign(sign) = self.peek().0 else { return None };
        signs.contains(&sign).then(|| {
            self.place += 1;
            sign
        })
    }

    /// Parses one level deeper.
    fn nested<T>(&mut self, parse: impl FnOnce(&mut Self) -> Result<T, InvalidRankBy>) -> Result<T, InvalidRankBy> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            let problem = format!("more than {} nested levels", DEPTH_MAX);
            return Err(InvalidRankBy { at: self.peek().1, problem });
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn sum(&mut self) -> Result<Expression, InvalidRankBy> {
        let mut left = self.product()?;
        while let Some(sign) = self.sign(&['+', '-']) {
            let operator = if sign == '+' { Operator::Add } else { Operator::Subtract };
            left = Expression::Binary(operator, Box::new(left), Box::new(self.product()?));
        }
        Ok(left)
    }

    fn product(&mut self) -> Result<Expression, InvalidRankBy> {
        let mut left = self.signed()?;
        while let Some(sign) = self.sign(&['*', '/']) {
            let operator = if sign == '*' { Operator::Multiply } else { Operator::Divide };
            left = Expression::Binary(operator, Box::new(left), Box::new(self.signed()?));
        }
        Ok(left)
    }

    fn signed(&mut self) -> Result<Expression, InvalidRankBy> {
        match self.sign(&['-']) {
            Some(_) => Ok(Expression::Negated(Box::new(self.nested(Self::signed)?))),
            None => self.value(),
        }
    }

    fn value(&mut self) -> Result<Expression, InvalidRankBy> {
        let found = self.next();
        match found.0 {
            Token::Number(number) => Ok(Expression::Number(number)),
            Token::Quoted(field) if !field.is_empty() => Ok(Expression::Name(Name::Field(field))),
            Token::Name(name) if self.sign(&['(']).is_some() => self.call(&name, found.1),
            Token::Name(name) => Ok(Expression::Name(Name::of(&name))),
            Token::Sign('(') => {
                let inner = self.nested(Self::sum)?;
                self.close()?;
                Ok(inner)
            }
            _ => Err(unexpected(&found, "a number, a name or a bracket")),
        }
    }

    fn call(&mut self, name: &str, at: usize) -> Result<Expression, InvalidRankBy> {
        let Some((_, function, least, most)) = FUNCTIONS.into_iter().find(|(known, ..)| *known == name) else {
            let known: Vec<String> = FUNCTIONS.iter().map(|(known, ..)| format!("`{known}`")).collect();
            let problem = format!("unknown function `{name}` (the functions are {})", known.join(", "));
            return Err(InvalidRankBy { at, problem });
        };
        let arguments = if self.sign(&[')']).is_some() { Vec::new() } else { self.nested(Self::arguments)? };
        if arguments.len() < least || arguments.len() > most {
            return Err(InvalidRankBy { at, problem: wrong_number(name, function, arguments.len()) });
        }
        Ok(Expression::Call(function, arguments))
    }

    fn arguments(&mut self) -> Result<Vec<Expression>, InvalidRankBy> {
        let mut arguments = vec![self.sum()?];
        while self.sign(&[',']).is_some() {
            arguments.push(self.sum()?);
        }
        self.close()?;
        Ok(arguments)
    }

    fn close(&mut self) -> Result<(), InvalidRankBy> {
        match self.next() {
            (Token::Sign(')'), _) => Ok(()),
            found => Err(unexpected(&found, "`)`")),
        }
    }
}

fn wrong_number(name: &str, function: Function, found: usize) -> String {
    let takes = match function {
        Function::Pow => "two arguments",
        Function::Decay(_) => "two or three arguments",
        Function::Min | Function::Max | Function::Coalesce => "at least one argument",
        _ => "one argument",
    };
    format!("`{name}` takes {takes}, not {found}")
}

fn unexpected((found, at): &Placed, expected: &str) -> InvalidRankBy {
    let found = match found {
        Token::Number(number) => format!("`{number}`"),
        Token::Name(name) | Token::Quoted(name) => format!("`{name}`"),
        Token::Sign(sign) => format!("`{sign}`"),
        Token::End => "the end".to_owned(),
    };
    InvalidRankBy { at: *at, problem: format!("expected {expected}, found {found}") }
}
