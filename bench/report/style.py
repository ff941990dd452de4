"""The report's style sheet. Series colours follow Okabe and Ito's set for colour-blind readers."""

CSS = """
:root { color-scheme: light dark; --page: #fbfbfa; --card: #fff; --ink: #1d2126; --soft: #59616b;
  --line: #dfe2e6; --good: #00694d; --good-page: #e2f4ed; --bad: #a33d00; --bad-page: #fdebe0;
  --s0: #0072b2; --s1: #d55e00; --s2: #009e73; --s3: #c4639a; --s4: #c58200; --s5: #3d9bd4;
  --s6: #7a4fa3; --s7: #6b6b6b; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --card: #1b1f25; --ink: #e8eaed;
  --soft: #a0a8b2; --line: #323942; --good: #6fdcb4; --good-page: #17352c; --bad: #ffa776;
  --bad-page: #3a241a; --s0: #4ba3e0; --s1: #ff8544; --s2: #2fc598; --s3: #e693c0; --s4: #f0b43c;
  --s5: #93d2f7; --s6: #b695dc; --s7: #a9a9a9; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1160px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -.01em; }
h2 { font-size: 20px; margin: 40px 0 4px; }
h3 { font-size: 15px; margin: 24px 0 2px; }
p { margin: 0 0 12px; max-width: 76ch; }
.soft, figcaption, .unit { color: var(--soft); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
table { width: 100%; border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 8px 10px; text-align: right; border-top: 1px solid var(--line); }
thead th { border-top: 0; font-weight: 600; font-size: 13px; vertical-align: bottom; }
th:nth-child(-n+3), td:nth-child(-n+3), td.reason { text-align: left; }
tbody th { font-weight: 600; white-space: nowrap; }
td:nth-child(2) { white-space: nowrap; }
th .unit, th .soft, td .soft { display: block; font-size: 12px; font-weight: 400; }
td.best { font-weight: 700; color: var(--good); background: var(--good-page); }
td.reason { color: var(--soft); overflow-wrap: anywhere; }
.status { font-size: 12px; padding: 1px 7px; border-radius: 9px; border: 1px solid var(--line); }
.ok { color: var(--good); } .skipped, .unclear { color: var(--soft); }
.failed, .missed { color: var(--bad); background: var(--bad-page); border-color: transparent; }
.note { max-width: 24ch; white-space: normal; }
.summary { list-style: none; margin: 20px 0 0; padding: 10px 18px; }
.summary li { display: grid; grid-template-columns: 6.5em 1fr; margin: 5px 0; max-width: none; }
svg { display: block; width: 100%; overflow: visible; }
svg text { font-size: 12px; fill: var(--ink); }
svg .tick { fill: var(--soft); text-anchor: middle; } svg .end { text-anchor: end; }
svg .axis { fill: var(--soft); text-anchor: middle; }
svg .grid { stroke: var(--line); fill: none; }
svg .frontier { stroke: var(--soft); stroke-dasharray: 2 4; fill: none; }
svg .leader { stroke: var(--soft); stroke-width: .8; fill: none; }
svg .same { stroke: var(--soft); stroke-opacity: .55; fill: none; }
svg .label { text-anchor: middle; paint-order: stroke; stroke: var(--card); stroke-width: 3px; }
svg .mark { fill: var(--c); stroke: var(--card); stroke-width: 1.2; }
svg .hollow { fill: var(--card); stroke: var(--c); stroke-width: 2; }
svg .dashed { stroke-dasharray: 2 1.5; }
.plot { padding: 14px 12px 6px; } .narrow { display: none; }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; margin: 0 0 8px; padding: 0;
  list-style: none; font-size: 13px; }
.legend svg { display: inline-block; width: 16px; height: 16px; vertical-align: -3px;
  margin-right: 5px; }
.strips { padding: 12px 18px 8px; display: grid; align-items: center; column-gap: 22px;
  grid-template-columns: minmax(160px, max-content) 1fr max-content; font-size: 13px; }
.strips .soft { font-size: 12px; }
.strips .figures { text-align: right; font-variant-numeric: tabular-nums; }
.strip .raw { stroke: var(--c); opacity: .35; } .strip .span { stroke: var(--c); stroke-width: 2; }
.strip .p90, .strip .p99 { stroke: var(--c); stroke-width: 2; }
.pictures { display: grid; gap: 16px;
  grid-template-columns: repeat(auto-fill, minmax(min(300px, 100%), 1fr)); }
figure { margin: 0; overflow: hidden; } figure img { display: block; width: 100%; }
figcaption { padding: 8px 12px 10px; font-size: 13px; }
figcaption b { color: var(--ink); display: block; }
dl { display: grid; grid-template-columns: repeat(2, max-content 1fr); gap: 4px 20px; margin: 8px 0;
  padding: 14px 18px; font-size: 14px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
li { margin: 3px 0; max-width: 76ch; }
@media (max-width: 820px) {
  main { padding: 22px 14px 48px; }
  .wide { display: none; } .narrow { display: block; }
  thead { display: none; }
  table, tbody, tr, th, td { display: block; border: 0; }
  tr { display: grid; grid-template-columns: repeat(3, 1fr); gap: 2px 10px; padding: 12px 14px;
    border-top: 1px solid var(--line); }
  tr:first-child { border-top: 0; }
  th, td { padding: 2px 0; text-align: left; }
  tbody th { grid-column: 1 / -1; font-size: 16px; }
  tbody td:nth-child(2) { grid-column: 1 / 3; }
  td:nth-child(3) { text-align: right; }
  td.reason { grid-column: 1 / -1; }
  th .soft, td:nth-child(2) .soft { display: inline; margin-left: 8px; }
  th .note { display: block; margin: 0; max-width: none; }
  td[data-title]::before { content: attr(data-title); display: block; font-size: 12px;
    font-weight: 400; color: var(--soft); }
  td.best { border-radius: 6px; padding: 2px 6px; margin: 0 -6px; }
  .summary li { grid-template-columns: 1fr; }
  .strips { grid-template-columns: 1fr max-content; grid-auto-flow: dense; padding: 12px 14px 8px; }
  .strips svg { grid-column: 1 / -1; margin-bottom: 8px; }
  .strips .blank { display: none; }
  dl { grid-template-columns: repeat(2, minmax(0, 1fr)); } dt { overflow-wrap: anywhere; }
}
"""
