"""The frame and the looks of a page that needs nothing beside it."""

import string

STYLE = """
:root { color-scheme: light dark; --ink: #1f2933; --dim: #52606d; --paper: #fff; --line: #d5dae0;
  --accent: #2b6cb0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e4e7eb; --dim: #a3adb8; --paper: #16191d; --line: #3a424c; --accent: #7fb3e6; }
}
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1rem 4rem; max-width: 62rem; color: var(--ink);
  background: var(--paper); font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0; font-size: 2rem; line-height: 1.2; }
h2 { margin: 2.5rem 0 0.5rem; font-size: 1.3rem; }
p { max-width: 46rem; }
a { color: var(--accent); }
small, figcaption, footer { color: var(--dim); font-size: 0.875rem; }
table { border-collapse: collapse; margin: 0.5rem 0; }
th, td { padding: 0.3rem 0.9rem 0.3rem 0; border-bottom: 1px solid var(--line); text-align: start;
  vertical-align: top; }
th[scope=row] { font-weight: 600; overflow-wrap: normal; }
.facts th { white-space: nowrap; }
@media (max-width: 34rem) { .facts th { white-space: normal; } }
.numbers th, .numbers td { white-space: nowrap; }
.numbers td, .numbers thead th + th { text-align: end; padding-inline: 0.9rem; }
.wide { overflow-x: auto; }
figure { margin: 1rem 0; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
.words { columns: 11rem; padding-inline-start: 2.2rem; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(26rem, 100%), 1fr));
  gap: 1.5rem; }
article { border: 1px solid var(--line); border-radius: 6px; padding: 0.8rem; }
article ul { margin: 0; padding-inline: 1.2rem; }
article p { margin: 0.4rem 0; }
.pair { display: flex; gap: 0.6rem; align-items: center; }
.pair img { width: 11.5rem; max-width: calc(50% - 0.3rem); height: auto; max-height: 11.5rem;
  object-fit: contain; }
.pair .after { outline: 1px solid var(--line); }
"""

FRAME = string.Template(
  """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; img-src data:; style-src 'unsafe-inline'$scripts">
<title>$title</title>
<style>$style</style>
</head>
<body>
$body</body>
</html>
"""
)
