//! What all pages have in common: head, navigation, page numbers. Owns no words about reports.

use maud::{DOCTYPE, Markup, html};

use super::words;

/// A whole page.
pub fn page(title: &str, content: Markup) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · foretrace" }
                link rel="icon" href="/icon.svg" type="image/svg+xml";
                link rel="stylesheet" href="/style.css";
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                header.top {
                    nav aria-label="Site" {
                        a.brand href="/" { img src="/icon.svg" alt="" width="24" height="24"; "foretrace" }
                        a href="/" { "Problems" }
                    }
                }
                main #content { (content) }
            }
        }
    }
}

/// Where a page stands: links to what it belongs to, then its own name.
pub fn path(above: &[(&str, &str)], here: &str) -> Markup {
    html! {
        nav.path aria-label="Breadcrumb" {
            ol {
                @for (address, name) in above { li { a href=(address) { (name) } } }
                li aria-current="page" { (here) }
            }
        }
    }
}

/// Links to the pages before and after; nothing where all fits on one. `address` makes a page's address.
pub fn pager(page: u64, size: u64, total: u64, address: impl Fn(u64) -> String) -> Markup {
    let pages = total.div_ceil(size).max(1);
    html! {
        @if pages > 1 {
            nav.pager aria-label="Pages" {
                @if page > 1 { a rel="prev" href=(address(page - 1)) { "← Previous" } } @else { span {} }
                span { "Page " (words::number(page)) " of " (words::number(pages)) }
                @if page < pages { a rel="next" href=(address(page + 1)) { "Next →" } } @else { span {} }
            }
        }
    }
}

/// Text made fit for an address's query.
pub fn query(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => safe.push(byte.into()),
            _ => safe.push_str(&format!("%{byte:02X}")),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_cannot_leave_its_place() {
        assert_eq!(query("a&b=\"ü"), "a%26b%3D%22%C3%BC");
    }

    #[test]
    fn one_page_needs_no_numbers() {
        assert_eq!(pager(1, 50, 50, |page| page.to_string()).into_string(), "");
        let two = pager(1, 50, 51, |page| format!("?page={page}")).into_string();
        assert!(two.contains("?page=2") && two.contains("1 of 2") && !two.contains("prev"));
    }
}
