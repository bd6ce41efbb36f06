"""The style sheet of the page: light and dark, on screen and on paper."""

CSS = """
:root { --ink: #1a1a1a; --soft: #555; --line: #ccc; --ground: #fff; --band: #f3f3f3; --link: #0050a0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #eaeaea; --soft: #b0b0b0; --line: #4a4a4a; --ground: #161616; --band: #232323; --link: #8ec5ff; }
}
body { margin: 0 auto; max-width: 75rem; padding: 1rem; color: var(--ink); background: var(--ground);
  font: 1rem/1.5 system-ui, sans-serif; }
a { color: var(--link); }
.skip { position: absolute; left: -99rem; }
.skip:focus { position: static; }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; list-style: none; }
h2 { margin: 2.5rem 0 .5rem; border-top: 1px solid var(--line); padding-top: 1rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); min-width: min(30rem, 85vw); max-width: 60rem;
  padding-bottom: .5rem; }
th, td { padding: .25rem .75rem; text-align: left; vertical-align: top; }
th { font-weight: 600; }
td.number, th.number { text-align: right; white-space: nowrap; }
th[scope=row] { font-weight: 400; white-space: nowrap; }
thead { border-bottom: 1px solid var(--ink); }
th[scope=rowgroup] { font-weight: 600; white-space: nowrap; }
td.place { color: var(--soft); font-size: .875rem; }
thead th[scope=colgroup] { text-align: center; }
tbody { border-bottom: 1px solid var(--line); }
tbody tr:hover { background: var(--band); }
ul.notes { color: var(--soft); padding-left: 1.25rem; }
figure { display: inline-block; margin: .5rem 1rem .5rem 0; padding: .5rem; background: #fff; color: #1a1a1a;
  border: 1px solid var(--line); vertical-align: top; width: min(100%, 26rem); box-sizing: border-box; }
figure svg, figure img { display: block; width: 100%; height: auto; }
figcaption { font-size: .875rem; }
summary { cursor: pointer; }
dt { font-weight: 600; }
dd { margin: 0 0 .5rem 1.25rem; overflow-wrap: anywhere; }
@media print {
  body { max-width: none; font-size: 9pt; }
  nav, .skip { display: none; }
  table, figure { break-inside: avoid; }
  details:not([open]) { display: none; }
}
"""
