//! Which of a process's namespaces are not the handler's, which are the machine's first ones.

/// The kinds that differ. `listing` has a line for each kind: its name, the process's link and the handler's.
pub fn apart(listing: &[u8]) -> Vec<String> {
    let listing = String::from_utf8_lossy(listing);
    let differing = listing.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (kind, own, first) = (words.next()?, words.next()?, words.next()?);
        (own != first).then(|| kind.to_owned())
    });
    differing.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_namespaces_that_differ_are_named() {
        let listing = b"mnt mnt:[5] mnt:[1]\nnet net:[2] net:[2]\npid pid:[6] pid:[3]\ntorn";
        assert_eq!(apart(listing), ["mnt", "pid"]);
        assert!(apart(b"").is_empty());
    }
}
