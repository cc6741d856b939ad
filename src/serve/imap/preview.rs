//! FETCH PREVIEW (RFC 8970): the first words of a message, made when asked for.

use super::outcome::Failure;
use super::section::Message;
use crate::message::content_type::MediaType;
use crate::message::header::Header;
use crate::message::layout::{Kind, Place};
use crate::message::{text, transfer};

/// Parts that are looked at: the text stands among the first.
const MAX_PARTS: usize = 20;
/// Of a part's header.
const MAX_HEADER: u64 = 16 * 1024;
/// Of a text, encoded: HTML brings its style sheets first.
const MAX_TEXT: u64 = 48 * 1024;

/// The words; empty if there is no text.
pub async fn preview(message: &mut Message<'_>) -> Result<String, Failure> {
    let leaves: Vec<Place> =
        message.layout().await?.places().iter().filter(|place| place.kind == Kind::Leaf).take(MAX_PARTS).copied().collect();
    let mut html = None;
    for place in leaves {
        let header = message.original(place.start, (place.body - place.start).min(MAX_HEADER)).await?;
        let header = Header::parse(&header);
        let attached = header
            .first("content-disposition")
            .is_some_and(|field| field.value.trim_ascii_start().to_ascii_lowercase().starts_with(b"attachment"));
        if attached {
            continue;
        }
        let media = header.first("content-type").and_then(|field| MediaType::parse(field.value)).unwrap_or_else(MediaType::plain_text);
        if media.is("text", "plain") {
            let words = words(message, &place, &media).await?;
            if !words.is_empty() {
                return Ok(words);
            }
        } else if media.is("text", "html") && html.is_none() {
            html = Some((place, media));
        }
    }
    match html {
        Some((place, media)) => words(message, &place, &media).await,
        None => Ok(String::new()),
    }
}

async fn words(message: &mut Message<'_>, place: &Place, media: &MediaType) -> Result<String, Failure> {
    let body = message.original(place.body, (place.end - place.body).min(MAX_TEXT)).await?;
    Ok(text::preview(&text::readable(media, &transfer::decode(place.encoding, &body))))
}
