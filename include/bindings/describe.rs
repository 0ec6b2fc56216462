//! Describes the C API as JSON, from the sources that the header is made of.
//!
//! Each item is on a line of its own, so that a change of one is a change of one line. A type
//! is a name (`int32_t`, `inferno_tensor`), `{"pointer": type, "const": bool}`,
//! `{"array": type, "count": n}`, or `{"function": {"returns": type, "parameters": […]}}`.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::path::Path;
use syn::{Expr, Fields, FnArg, Item, Lit, Meta, ReturnType, Type};

/// What the items are sorted into, in the order of the sources.
const SECTIONS: [&str; 6] = ["constants", "enums", "handles", "callbacks", "structs", "functions"];

/// The text of `inferno.json`.
pub fn describe(root: &Path, sources: &[&str], version: &str) -> String {
    let read = |source: &&str| {
        let path = root.join(format!("src/ffi/{source}.rs"));
        let text = fs::read_to_string(path).expect("src/ffi is readable");
        syn::parse_file(&text).expect("src/ffi is Rust").items
    };
    let items: Vec<Item> = sources.iter().flat_map(read).collect();
    let mut api = Api::default();
    items.iter().for_each(|item| api.constant(item));
    items.iter().for_each(|item| api.item(item));
    api.text(version)
}

#[derive(Default)]
struct Api {
    constants: HashMap<String, u64>,
    found: HashMap<&'static str, Vec<Value>>,
}

impl Api {
    fn add(&mut self, section: &'static str, value: Value) {
        self.found.entry(section).or_default().push(value);
    }

    fn text(&self, version: &str) -> String {
        let mut text = format!("{{\n\"version\": \"{version}\"");
        for section in SECTIONS {
            let lines = self.found.get(section).into_iter().flatten().map(Value::to_string);
            let lines = lines.collect::<Vec<_>>().join(",\n");
            text.push_str(&format!(",\n\"{section}\": [\n{lines}\n]"));
        }
        text + "\n}\n"
    }

    /// Constants come first: arrays are as long as they say.
    fn constant(&mut self, item: &Item) {
        let Item::Const(item) = item else { return };
        let name = item.ident.to_string();
        if !name.starts_with("INFERNO_") {
            return;
        }
        let value = match &*item.expr {
            Expr::Path(path) if path.path.segments.last().is_some_and(|s| s.ident == "MAX") => {
                u64::MAX
            }
            expr => number(expr).unwrap_or_else(|| panic!("{name} is no number")) as u64,
        };
        self.constants.insert(name.clone(), value);
        let value = json!({
            "name": name, "type": self.of(&item.ty), "value": value, "doc": sentence(&item.attrs),
        });
        self.add("constants", value);
    }

    fn item(&mut self, item: &Item) {
        match item {
            Item::Enum(item) if is_c(&item.attrs) => {
                let prefix = screaming(&item.ident.to_string());
                let values = item.variants.iter().map(|variant| {
                    let (_, value) = variant.discriminant.as_ref().expect("a value is written");
                    json!({
                        "name": format!("{prefix}_{}", screaming(&variant.ident.to_string())),
                        "value": number(value).expect("a number"),
                        "doc": sentence(&variant.attrs),
                    })
                });
                let values: Vec<Value> = values.collect();
                let name = item.ident.to_string();
                self.add(
                    "enums",
                    json!({"name": name, "values": values, "doc": sentence(&item.attrs)}),
                );
            }
            Item::Struct(item) => self.structure(item),
            Item::Type(item) if item.ident.to_string().starts_with("inferno_") => {
                let name = item.ident.to_string();
                let of = self.of(&item.ty);
                self.add(
                    "callbacks",
                    json!({"name": name, "type": of, "doc": sentence(&item.attrs)}),
                );
            }
            Item::Fn(item) if item.sig.abi.is_some() => {
                let parameters: Vec<Value> =
                    item.sig.inputs.iter().map(|input| self.parameter(input)).collect();
                let value = json!({
                    "name": item.sig.ident.to_string(),
                    "returns": self.returned(&item.sig.output),
                    "parameters": parameters,
                    "doc": sentence(&item.attrs),
                });
                self.add("functions", value);
            }
            _ => {}
        }
    }

    fn structure(&mut self, item: &syn::ItemStruct) {
        let name = item.ident.to_string();
        if !name.starts_with("inferno_") {
            return;
        }
        let doc = sentence(&item.attrs);
        if !is_c(&item.attrs) {
            return self.add("handles", json!({"name": name, "doc": doc}));
        }
        let Fields::Named(fields) = &item.fields else { panic!("{name} has no named fields") };
        let fields: Vec<Value> = fields
            .named
            .iter()
            .map(|field| {
                let name = field.ident.as_ref().expect("a name").to_string();
                json!({"name": name, "type": self.of(&field.ty), "doc": sentence(&field.attrs)})
            })
            .collect();
        self.add("structs", json!({"name": name, "fields": fields, "doc": doc}));
    }

    fn parameter(&self, input: &FnArg) -> Value {
        let FnArg::Typed(input) = input else { panic!("a method") };
        let syn::Pat::Ident(name) = &*input.pat else { panic!("a parameter without a name") };
        json!({"name": name.ident.to_string(), "type": self.of(&input.ty)})
    }

    fn returned(&self, output: &ReturnType) -> Value {
        match output {
            ReturnType::Default => json!("void"),
            ReturnType::Type(_, of) => self.of(of),
        }
    }

    /// A type as JSON.
    fn of(&self, of: &Type) -> Value {
        match of {
            Type::Ptr(pointer) => {
                json!({"pointer": self.of(&pointer.elem), "const": pointer.mutability.is_none()})
            }
            Type::Array(array) => {
                let count = match &array.len {
                    Expr::Path(path) => {
                        let name = path.path.get_ident().expect("a constant").to_string();
                        *self.constants.get(&name).unwrap_or_else(|| panic!("what is {name}?"))
                    }
                    len => number(len).expect("a length") as u64,
                };
                json!({"array": self.of(&array.elem), "count": count})
            }
            Type::BareFn(function) => {
                let parameters: Vec<Value> = function
                    .inputs
                    .iter()
                    .map(|input| {
                        let name = input.name.as_ref().map(|(name, _)| name.to_string());
                        json!({"name": name.unwrap_or_default(), "type": self.of(&input.ty)})
                    })
                    .collect();
                let returns = self.returned(&function.output);
                json!({"function": {"returns": returns, "parameters": parameters}})
            }
            Type::Path(path) => self.named(path),
            other => panic!("a type that C has not: {other:?}"),
        }
    }

    fn named(&self, path: &syn::TypePath) -> Value {
        let last = path.path.segments.last().expect("a name");
        let name = last.ident.to_string();
        if name == "Option" {
            let syn::PathArguments::AngleBracketed(inner) = &last.arguments else {
                panic!("an Option of nothing")
            };
            let Some(syn::GenericArgument::Type(inner)) = inner.args.first() else {
                panic!("an Option of nothing")
            };
            return self.of(inner);
        }
        json!(match name.as_str() {
            "i8" => "int8_t",
            "u8" => "uint8_t",
            "i16" => "int16_t",
            "u16" => "uint16_t",
            "i32" => "int32_t",
            "u32" => "uint32_t",
            "i64" => "int64_t",
            "u64" => "uint64_t",
            "usize" => "size_t",
            "f32" => "float",
            "f64" => "double",
            "c_char" => "char",
            "c_void" => "void",
            own if own.starts_with("inferno_") => own,
            other => panic!("a type that C has not: {other}"),
        })
    }
}

fn number(expr: &Expr) -> Option<i64> {
    match expr {
        Expr::Lit(lit) => match &lit.lit {
            Lit::Int(int) => int.base10_parse().ok(),
            _ => None,
        },
        Expr::Unary(minus) if matches!(minus.op, syn::UnOp::Neg(_)) => {
            number(&minus.expr).map(|n| -n)
        }
        _ => None,
    }
}

fn is_c(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|attr| {
        let mut is_c = false;
        if attr.path().is_ident("repr") {
            let _ = attr.parse_nested_meta(|meta| {
                is_c |= meta.path.is_ident("C");
                Ok(())
            });
        }
        is_c
    })
}

/// The first sentence of a comment.
fn sentence(attrs: &[syn::Attribute]) -> String {
    let mut text = String::new();
    for attr in attrs {
        let Meta::NameValue(meta) = &attr.meta else { continue };
        let Expr::Lit(lit) = &meta.value else { continue };
        let Lit::Str(line) = &lit.lit else { continue };
        if !meta.path.is_ident("doc") {
            continue;
        }
        let line = line.value();
        if line.trim().is_empty() {
            break;
        }
        text.push_str(line.trim());
        text.push(' ');
    }
    let end = text.find(". ").map_or(text.trim_end().len(), |end| end + 1);
    text[..end].to_owned()
}

/// `LetterboxTopLeft` and `inferno_fit` as C writes constants, the way cbindgen does.
fn screaming(name: &str) -> String {
    let mut made = String::new();
    let mut before = '_';
    for c in name.chars() {
        if c.is_uppercase() && before != '_' && !before.is_uppercase() {
            made.push('_');
        }
        made.extend(c.to_uppercase());
        before = c;
    }
    made
}
