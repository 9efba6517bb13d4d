//! CLIP's tokenizer: text cleaned and lower-cased, cut into words, each word cut by byte-pair
//! encoding. Equal to `SimpleTokenizer` of OpenAI's CLIP and open_clip.

use std::sync::LazyLock;

use regex::Regex;
use tokenizers::Model;
use tokenizers::models::bpe::{BPE, Vocab};

use super::clean;
use super::tokens::Tokens;

/// The token before every text.
const START: u32 = 49_406;
/// The token after every text, the highest of all.
const END: u32 = 49_407;

/// Merges in the order in which they were learnt, one a line (OpenAI CLIP, MIT; see NOTICE).
const MERGES: &str = include_str!("merges.txt");

/// Words, as CLIP sees them: the two special tokens, English contractions, runs of letters,
/// single digits, runs of anything else but space.
static WORD: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)<start_of_text>|<end_of_text>|'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+",
    )
    .expect("the pattern is a constant and valid")
});

/// Byte-pair encoding with CLIP's vocabulary.
pub(super) struct ClipTokenizer {
    bpe: BPE,
    /// The character that stands for each byte.
    bytes: [char; 256],
}

impl ClipTokenizer {
    /// With the vocabulary that is part of the program.
    pub(super) fn new() -> Self {
        let bytes = byte_characters();
        let merges: Vec<(String, String)> = MERGES
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(left, right)| (left.to_owned(), right.to_owned()))
            .collect();
        let singles = byte_order().map(|byte| bytes[usize::from(byte)].to_string());
        let endings = singles.clone().map(|single| single + "</w>");
        let merged = merges.iter().map(|(left, right)| format!("{left}{right}"));
        let vocabulary: Vocab = singles.chain(endings).chain(merged).zip(0..).collect();
        let bpe = BPE::builder()
            .vocab_and_merges(vocabulary, merges)
            .end_of_word_suffix("</w>".to_owned())
            .build()
            .expect("every merge of the embedded vocabulary is made of entries of it");
        Self { bpe, bytes }
    }

    /// The tokens of a text, cut to `context` with the end token kept last, padded with 0.
    pub(super) fn encode(&self, text: &str, context: usize) -> Tokens {
        let mut ids = Vec::with_capacity(context);
        ids.push(START);
        let text = clean::lower(text);
        let mut word = String::new();
        for piece in WORD.find_iter(&text) {
            // What the context has no room for is not worth encoding.
            if ids.len() >= context {
                break;
            }
            match piece.as_str() {
                "<start_of_text>" => ids.push(START),
                "<end_of_text>" => ids.push(END),
                piece => {
                    word.clear();
                    word.extend(piece.bytes().map(|byte| self.bytes[usize::from(byte)]));
                    // Every byte is in the vocabulary, so that there is no unknown word.
                    let tokens = self.bpe.tokenize(&word).unwrap_or_default();
                    ids.extend(tokens.iter().map(|token| token.id));
                }
            }
        }
        ids.push(END);
        let is_cut = ids.len() > context;
        if is_cut {
            ids.truncate(context);
            ids[context - 1] = END;
        }
        ids.resize(context, 0);
        let end = ids.iter().position(|&id| id == END).unwrap_or(context - 1);
        Tokens { ids, end, is_cut }
    }
}

/// The bytes in the order of the vocabulary: printable ones first.
fn byte_order() -> impl Iterator<Item = u8> + Clone {
    let printable = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let others = (0..=u8::MAX).filter(move |byte| !printable(byte));
    (0..=u8::MAX).filter(printable).chain(others)
}

/// Printable bytes stand for themselves, others for characters from U+0100 on.
fn byte_characters() -> [char; 256] {
    let mut characters = ['\0'; 256];
    for (place, byte) in byte_order().enumerate() {
        let printable = usize::from(b'~' - b'!') + 1 + 12 + 82;
        characters[usize::from(byte)] = match place.checked_sub(printable) {
            None => char::from(byte),
            Some(other) => char::from_u32(0x100 + other as u32).unwrap_or('\u{FFFD}'),
        };
    }
    characters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_known_text_has_known_tokens() {
        // From open_clip 3.3.0.
        let tokens = ClipTokenizer::new().encode("a photo of a cat", 77);
        assert_eq!(tokens.ids()[..7], [START, 320, 1125, 539, 320, 2368, END]);
        assert_eq!(tokens.end(), 6);
        assert_eq!(tokens.ids().len(), 77);
        assert!(tokens.ids()[7..].iter().all(|&id| id == 0));
    }

    #[test]
    fn a_long_text_keeps_its_end_token() {
        let tokens = ClipTokenizer::new().encode(&"cat ".repeat(10_000), 77);
        assert_eq!(tokens.ids()[76], END);
        assert_eq!(tokens.ids()[75], 2368);
        assert_eq!(tokens.end(), 76);
        assert!(tokens.is_cut());
        let longest = ClipTokenizer::new().encode(&"cat ".repeat(75), 77);
        assert!(!longest.is_cut());
        assert!(ClipTokenizer::new().encode(&"cat ".repeat(76), 77).is_cut());
    }

    #[test]
    fn nothing_is_start_and_end() {
        for text in ["", "   ", "\u{0}\u{1}\u{2}"] {
            assert_eq!(
                ClipTokenizer::new().encode(text, 77).ids()[..3],
                [START, END, 0],
                "{text:?}"
            );
        }
    }
}
