//! The package of a container's program, from the container's own files of dpkg or rpm.
//!
//! Two steps, because the container's files can be had only while the process is there, and comparing takes time: what
//! its package database claims for a path, and whether the program that ran is what that package installed. Without the
//! second a file that was put over another would bear its name.

use std::fs::File;
use std::io::Read;
use std::time::Instant;

use foretrace_report::schema::Package;

use super::modified::line;
use super::{Sum, rpm, spellings};

/// Where dpkg keeps its state, in the container.
const STATUS: &str = "/var/lib/dpkg/status";
const LISTS: &str = "/var/lib/dpkg/info";
/// More packages are not asked about.
const PACKAGES: usize = 2000;
/// More of dpkg's status, and of a package's list, is not read.
const STATUS_BYTES: u64 = 32 << 20;
const SUMS_BYTES: u64 = 4 << 20;

/// What a container's package database says of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    package: Package,
    // Of the program's file, as installed.
    sum: Sum,
}

impl Claim {
    /// Finds who claims `exe`, a path in the container. `open` opens a file there.
    pub fn find(exe: &str, open: &mut dyn FnMut(&str) -> Option<File>) -> Option<Claim> {
        let known = rpm::PLACES.iter().find_map(|place| rpm::installed(&open(&format!("/{place}"))?, exe));
        match known {
            Some(rpm::Installed { package, sum: Some(sum) }) => Some(Claim { package, sum }),
            _ => Claim::of_dpkg(exe, open),
        }
    }

    fn of_dpkg(exe: &str, open: &mut dyn FnMut(&str) -> Option<File>) -> Option<Claim> {
        let mut read = |name: &str, limit: u64| {
            let mut content = Vec::new();
            open(name)?.take(limit).read_to_end(&mut content).ok()?;
            Some(content)
        };
        let names: Vec<String> =
            spellings(exe).iter().map(|name| name.trim_start_matches('/').into()).collect();
        let status = read(STATUS, STATUS_BYTES)?;
        let status = String::from_utf8_lossy(&status);
        let mut installed: Vec<Installed<'_>> = status.split("\n\n").filter_map(Installed::parse).collect();
        // A package is often called as its program, or the other way round.
        let program = names[0].rsplit('/').next().unwrap_or_default();
        installed.sort_by_key(|package| !(names[0].contains(package.name) || package.name.contains(program)));
        installed.into_iter().take(PACKAGES).find_map(|package| {
            let sums = read(&package.sums(), SUMS_BYTES)?;
            let mut lines = sums.split(|byte| *byte == b'\n').filter_map(line);
            let (sum, _) = lines.find(|(_, file)| names.iter().any(|name| name.as_bytes() == *file))?;
            let (name, version) = (package.name.to_owned(), package.version.to_owned());
            Some(Claim { package: Package { name, version }, sum: Sum::Md5(sum.to_vec()) })
        })
    }

    /// The package, if `image`, the program that ran, is the file that it installed.
    pub fn proved(self, image: &File, until: Instant) -> Option<Package> {
        self.sum.fits(image, until)?.then_some(self.package)
    }
}

// A stanza of dpkg's status.
struct Installed<'a> {
    name: &'a str,
    version: &'a str,
    // Where several architectures' packages of this name can be installed.
    architecture: Option<&'a str>,
}

impl<'a> Installed<'a> {
    fn parse(stanza: &'a str) -> Option<Installed<'a>> {
        let field = |key: &str| stanza.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let name = field("Package:").filter(|name| !name.is_empty() && !name.contains('/'))?;
        let several = field("Multi-Arch:") == Some("same");
        let architecture = field("Architecture:").filter(|name| several && !name.contains('/'));
        let version = field("Version:")?;
        field("Status:")?.ends_with(" installed").then_some(Installed { name, version, architecture })
    }

    fn sums(&self) -> String {
        match self.architecture {
            Some(architecture) => format!("{LISTS}/{}:{architecture}.md5sums", self.name),
            None => format!("{LISTS}/{}.md5sums", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};
    use std::time::Duration;

    use super::*;

    const STATUS_TEXT: &str = "Package: libshop\nStatus: install ok installed\nArchitecture: amd64\nMulti-Arch: same\nVersion: 2\n\n\
        Package: shop\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1:4-2\n\n\
        Package: gone\nStatus: deinstall ok config-files\nVersion: 9\n\n\
        Package: ../../etc\nStatus: install ok installed\nVersion: 1\n";
    const EMPTY: &str = "d41d8cd98f00b204e9800998ecf8427e";

    fn claim(exe: &str, asked: &mut Vec<String>) -> Option<Claim> {
        Claim::find(exe, &mut |name| {
            asked.push(name.to_owned());
            let file = |content: &str| {
                let mut file = tempfile::tempfile().unwrap();
                file.write_all(content.as_bytes()).unwrap();
                file.rewind().unwrap();
                Some(file)
            };
            let sums = |named: &str| file(&format!("{EMPTY}  {named}\n"));
            match name {
                STATUS => file(STATUS_TEXT),
                "/var/lib/dpkg/info/shop.md5sums" => sums("usr/bin/till"),
                "/var/lib/dpkg/info/libshop:amd64.md5sums" => sums("usr/lib/shop/daemon"),
                "/var/lib/dpkg/info/gone.md5sums" => sums("usr/bin/gone"),
                _ => None,
            }
        })
    }

    #[test]
    fn the_installed_package_whose_sums_name_the_program_claims_it() {
        let mut asked = Vec::new();
        let found = claim("/bin/till", &mut asked).unwrap();
        assert_eq!((found.package.name.as_str(), found.package.version.as_str()), ("shop", "1:4-2"));
        assert_eq!(claim("/usr/lib/shop/daemon", &mut asked).unwrap().package.name, "libshop");
        assert_eq!(claim("/usr/bin/gone", &mut asked), None);
        assert!(asked.iter().all(|name| !name.contains("..")), "{asked:?}");
    }

    #[test]
    fn a_program_that_is_not_what_was_installed_is_of_no_package() {
        let until = Instant::now() + Duration::from_secs(5);
        let mut file = tempfile::tempfile().unwrap();
        let claimed = || claim("/usr/bin/till", &mut Vec::new()).unwrap();
        assert_eq!(claimed().proved(&file, until).unwrap().name, "shop");
        file.write_all(b"another").unwrap();
        assert_eq!(claimed().proved(&file, until), None);
    }
}
