//! Schematics of the Image Factory: what is built into a Talos image, and the image's name.

use castle_core::{Cluster, Error, ErrorKind, ImageRef, ImageSpec, Result};
use sha2::{Digest, Sha256};

/// What is built into a Talos image beyond Talos: the Image Factory knows it by
/// the hash of its canonical text.
///
/// The order of both lists counts: another order is another id.
///
/// ```
/// use castle_talos::Schematic;
///
/// let plain = Schematic::default();
/// assert_eq!(plain.canonical().unwrap(), "customization: {}\n");
/// assert_eq!(plain.id().unwrap(), "376567988ad370138ad8b2698212367b8edcb69b5fd68c80be1f2ec7d603b4ba");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Schematic {
    /// Official extensions, for example `siderolabs/iscsi-tools`.
    pub extensions: Vec<String>,
    /// Arguments added to the kernel's command line.
    pub kernel_args: Vec<String>,
}

impl Schematic {
    /// The schematic of a declared image. Extensions are sorted, as the
    /// factory's own form does: the order they are declared in means nothing,
    /// and an image made by hand with the same extensions has the same id.
    #[must_use]
    pub fn of(spec: &ImageSpec) -> Self {
        let mut extensions = spec.extensions.clone();
        extensions.sort();
        extensions.dedup();
        Self { extensions, kernel_args: Vec::new() }
    }

    /// The canonical YAML, byte for byte as the factory writes it.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidSpec`] if an entry is no plain YAML text: the factory
    /// would quote it, and the id would differ.
    pub fn canonical(&self) -> Result<String> {
        let mut text = String::new();
        if !self.kernel_args.is_empty() {
            text.push_str("    extraKernelArgs:\n");
            push_items(&mut text, "        ", &self.kernel_args)?;
        }
        if !self.extensions.is_empty() {
            text.push_str("    systemExtensions:\n        officialExtensions:\n");
            push_items(&mut text, "            ", &self.extensions)?;
        }
        Ok(if text.is_empty() { "customization: {}\n".to_owned() } else { format!("customization:\n{text}") })
    }

    /// The id: the SHA-256 of the canonical text in lower-case hex.
    ///
    /// The factory builds images only of schematics it was given once:
    /// `curl -X POST --data-binary @schematic.yaml https://factory.talos.dev/schematics`.
    ///
    /// # Errors
    ///
    /// As [`Schematic::canonical`].
    pub fn id(&self) -> Result<String> {
        Ok(hex::encode(Sha256::digest(self.canonical()?)))
    }
}

fn push_items(text: &mut String, indent: &str, items: &[String]) -> Result<()> {
    for item in items {
        if !is_plain(item) {
            let message = format!("{item:?} cannot stand in a schematic");
            return Err(Error::new(ErrorKind::InvalidSpec, message)
                .hint("use letters, digits and `-_.,=/+@%:`, beginning with a letter"));
        }
        text.push_str(indent);
        text.push_str("- ");
        text.push_str(item);
        text.push('\n');
    }
    Ok(())
}

/// Whether every YAML writer leaves it unquoted: it can be no number, date,
/// boolean, null, comment or mapping.
fn is_plain(item: &str) -> bool {
    const WORDS: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];
    item.len() <= 1024
        // A leading `-` removes an argument that the image has of its own.
        && item.strip_prefix('-').unwrap_or(item).starts_with(|c: char| c.is_ascii_alphabetic())
        && item.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.,=/+@%:".contains(&b))
        && !item.ends_with(':')
        && !WORDS.contains(&item.to_ascii_lowercase().as_str())
}

/// The image file of a cluster: `talos-<12 digits of the schematic>-<release>.qcow2`,
/// built for the platform `nocloud`, which takes its static address from the
/// hypervisor's drive at the first boot.
///
/// ```
/// use castle_core::{Cluster, ImageSpec};
///
/// let cluster = Cluster {
///     name: "blue".parse().unwrap(),
///     talos: "v1.13.9".into(),
///     kubernetes: "v1.36.3".into(),
///     contract: "1.13".into(),
/// };
/// let spec = ImageSpec { extensions: vec!["siderolabs/qemu-guest-agent".into()], storage: "local".into() };
/// assert_eq!(castle_talos::image(&cluster, &spec).unwrap().file, "talos-ce4c980550dd-v1.13.9.qcow2");
/// ```
///
/// # Errors
///
/// [`ErrorKind::InvalidSpec`] if an extension's name cannot stand in a schematic.
pub fn image(cluster: &Cluster, spec: &ImageSpec) -> Result<ImageRef> {
    let id = Schematic::of(spec).id()?;
    let release = &cluster.talos;
    Ok(ImageRef {
        storage: spec.storage.clone(),
        file: format!("talos-{}-{release}.qcow2", &id[..12]),
        url: format!("https://factory.talos.dev/image/{id}/{release}/nocloud-amd64.qcow2"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schematic(extensions: &[&str], kernel_args: &[&str]) -> Schematic {
        let owned = |items: &[&str]| items.iter().map(|item| (*item).to_owned()).collect();
        Schematic { extensions: owned(extensions), kernel_args: owned(kernel_args) }
    }

    #[test]
    fn known_ids_come_out() {
        for (extensions, kernel_args, id) in [
            (
                &["siderolabs/iscsi-tools", "siderolabs/util-linux-tools"][..],
                &[][..],
                "613e1592b2da41ae5e265e8789429f22e121aab91cb4deb6bc3c0b6262961245",
            ),
            (
                &["siderolabs/iscsi-tools", "siderolabs/qemu-guest-agent", "siderolabs/util-linux-tools"],
                &[],
                "88d1f7a5c4f1d3aba7df787c448c1d3d008ed29cfb34af53fa0df4336a56040b",
            ),
            (&[], &["noapic", "nolapic"], "9cba8e32753f91a16c1837ab8abf356af021706ef284aef07380780177d9a06c"),
        ] {
            assert_eq!(schematic(extensions, kernel_args).id().expect("plain"), id);
        }
    }

    #[test]
    fn the_order_of_declaration_does_not_change_the_image() {
        let spec = |extensions: &[&str]| ImageSpec {
            extensions: extensions.iter().map(|name| (*name).to_owned()).collect(),
            storage: "local".to_owned(),
        };
        let (one, two) = (spec(&["siderolabs/b", "siderolabs/a"]), spec(&["siderolabs/a", "siderolabs/b"]));
        assert_eq!(Schematic::of(&one), Schematic::of(&two));
        assert_ne!(Schematic::of(&one), Schematic { extensions: one.extensions, kernel_args: vec![] });
    }

    #[test]
    fn what_a_yaml_writer_would_quote_is_refused() {
        for good in
            ["noapic", "console=ttyS0,115200n8", "-console", "talos.platform=nocloud", "ip=10.0.0.1::10.0.0.2:24"]
        {
            assert!(schematic(&[], &[good]).id().is_ok(), "{good}");
        }
        for bad in ["", "1", "yes", "Null", "a b", "a: b", "a:", "a #b", "é", "- a", "-1", "\"a\"", "*a", "a\nb"] {
            let error = schematic(&[], &[bad]).id().expect_err(bad);
            assert_eq!(error.kind(), ErrorKind::InvalidSpec);
        }
    }
}
