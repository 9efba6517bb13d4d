//! The tokenizers against open_clip's, over texts that `tokens.py` puts together in the same way.

use std::path::Path;

use omnizap_contract::common::digest::Hasher;
use omnizap_models::Tokenizer;
use serde::Deserialize;

use crate::expected::fixtures;

const SEPARATORS: [&str; 10] = ["", " ", " ", " ", "  ", "\t", "\n", ", ", "-", "/"];

#[derive(Deserialize)]
struct Goldens {
    count: usize,
    /// Texts of one hash.
    block: usize,
    /// The start of each block's SHA-256 in hexadecimal.
    sha256: Vec<String>,
}

fn texts(count: usize) -> Vec<String> {
    let fragments = std::fs::read_to_string(fixtures().join("fragments.json")).unwrap();
    let fragments: Vec<String> = serde_json::from_str(&fragments).unwrap();
    let mut state = 1u64;
    let mut random = |n: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut texts = vec![String::new(), "a".repeat(10_000), "é ".repeat(5_000)];
    texts.extend(fragments.iter().cloned());
    while texts.len() < count {
        let mut text = String::new();
        for _ in 0..1 + random(7) {
            text += &fragments[random(fragments.len())];
            text += SEPARATORS[random(SEPARATORS.len())];
        }
        texts.push(text);
    }
    texts
}

/// Holds the tokens of all texts against the goldens in a file.
fn check(goldens: &Path, tokenizer: &Tokenizer, context: usize) {
    let goldens = std::fs::read_to_string(goldens).unwrap();
    let goldens: Goldens = serde_json::from_str(&goldens).unwrap();
    let texts = texts(goldens.count);
    // For `tokens.py --compare`, which says which text differs and how.
    if let Some(path) = std::env::var_os("OMNIZAP_TOKENS") {
        let lines = texts.iter().map(|text| {
            serde_json::to_string(&(text, tokenizer.encode(text, context).ids())).unwrap() + "\n"
        });
        std::fs::write(path, lines.collect::<String>()).unwrap();
    }
    let mut wrong = Vec::new();
    for ((i, block), golden) in texts.chunks(goldens.block).enumerate().zip(&goldens.sha256) {
        let mut hasher = Hasher::default();
        for text in block {
            tokenizer
                .encode(text, context)
                .ids()
                .iter()
                .for_each(|id| hasher.update(id.to_le_bytes()));
        }
        if hasher.finish()[..16] != **golden {
            wrong.push(i * goldens.block);
        }
    }
    assert_eq!(goldens.sha256.len(), goldens.count / goldens.block);
    assert!(
        wrong.is_empty(),
        "blocks that differ start at text {wrong:?}"
    );
}

#[test]
fn twelve_thousand_texts_have_open_clips_tokens() {
    check(&fixtures().join("tokens.json"), &Tokenizer::new(), 77);
}

/// With a tokenizer of few entries, made as Gemma's is. For another:
/// `tokens.py --tokenizer FOLDER FOLDER/tokens.json`, then `OMNIZAP_TOKENIZER=FOLDER`.
#[test]
fn twelve_thousand_texts_have_transformers_tokens() {
    let folder = std::env::var_os("OMNIZAP_TOKENIZER")
        .map_or_else(|| fixtures().join("siglip"), |folder| folder.into());
    let tokenizer = Tokenizer::from_file(&folder.join("tokenizer.json")).unwrap();
    check(&folder.join("tokens.json"), &tokenizer, 64);
}
