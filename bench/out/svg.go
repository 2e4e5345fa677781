package out

import (
	"fmt"
	"html/template"
	"math"
	"strings"

	"hoplab.dev/bench"
)

// colours of curves and bars; they differ for those who see no red and green too
// (Okabe and Ito).
var colours = []string{"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8a8d91", "#b8a500"}

func colour(i int) string { return colours[i%len(colours)] }

// drawing is an SVG of a size.
type drawing struct {
	b             strings.Builder
	width, height float64
}

func newDrawing(width, height float64) *drawing {
	d := &drawing{width: width, height: height}
	d.add(`<svg viewBox="0 0 %.0f %.0f" width="%.0f" role="img" xmlns="http://www.w3.org/2000/svg">`, width, height, width)
	return d
}

func (d *drawing) add(format string, args ...any) { fmt.Fprintf(&d.b, format, args...) }

func (d *drawing) text(x, y float64, anchor, class, text string) {
	d.add(`<text x="%.1f" y="%.1f" text-anchor="%s" class="%s">%s</text>`, x, y, anchor, class, template.HTMLEscapeString(text))
}

func (d *drawing) bar(x, y, width, height float64, fill, title string) {
	d.add(`<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"><title>%s</title></rect>`, x, y, max(width, 0), height, fill, template.HTMLEscapeString(title))
}

func (d *drawing) line(x1, y1, x2, y2 float64) {
	d.add(`<line class="axis" x1="%.1f" y1="%.1f" x2="%.1f" y2="%.1f"/>`, x1, y1, x2, y2)
}

// done gives the drawing; everything in it was escaped.
func (d *drawing) done() template.HTML {
	return template.HTML(d.b.String() + "</svg>") //nolint:gosec // see above
}

// legend names colours.
func legend(names []string) template.HTML {
	var b strings.Builder
	b.WriteString(`<p class="legend">`)
	for i, n := range names {
		fmt.Fprintf(&b, `<span><i style="background:%s"></i>%s</span>`, colour(i), template.HTMLEscapeString(n))
	}
	b.WriteString("</p>")
	return template.HTML(b.String()) //nolint:gosec // escaped
}

// plain are the cells of curves and of CPU: without those that only serve a
// comparison.
func plain(cells []bench.Cell) []bench.Cell {
	var out []bench.Cell
	for _, c := range cells {
		if c.Blank == "" && c.Requests > 0 && c.Plaintext == 0 && c.Chain == nil && !c.Quiet && !c.Observed {
			out = append(out, c)
		}
	}
	return out
}

// drawPercentiles is how long the slowest part of the requests took.
func drawPercentiles(cells []bench.Cell) template.HTML {
	const left, top, width, height = 70, 10, 820, 320
	cells = plain(cells)
	low, high, most := math.Inf(1), 0.0, 2.0
	var names []string
	for _, c := range cells {
		names = append(names, c.Name)
		for _, p := range c.Latency.Curve {
			low, high = min(low, max(p[1], 1)), max(high, p[1])
		}
		most = max(most, float64(c.Requests))
	}
	if high == 0 {
		return "<p>Nothing was measured.</p>"
	}
	x := func(percentile float64) float64 { // one in how many is slower
		rarity := min(100/max(100-percentile, 1e-9), most)
		return left + width*math.Log(rarity)/math.Log(most)
	}
	y := func(v float64) float64 {
		return top + height - height*(math.Log(max(v, 1))-math.Log(low))/max(math.Log(high)-math.Log(low), 1e-9)
	}
	d := newDrawing(left+width+20, top+height+40)
	for _, p := range []float64{0, 50, 90, 99, 99.9, 99.99} {
		if at := x(p); p == 0 || 100/(100-p) <= most {
			d.line(at, top, at, top+height)
			d.text(at, top+height+18, "middle", "soft", fmt.Sprintf("p%g", p))
		}
	}
	for v := math.Pow(10, math.Floor(math.Log10(low))); v <= high*10; v *= 10 {
		for _, k := range []float64{1, 2, 5} {
			if v*k >= low && v*k <= high {
				d.line(left, y(v*k), left+width, y(v*k))
				d.text(left-8, y(v*k)+4, "end", "soft", duration(v*k))
			}
		}
	}
	for i, c := range cells {
		d.add(`<polyline class="curve" stroke="%s" data-cell="%s" points="`, colour(i), template.HTMLEscapeString(c.Name))
		for _, p := range c.Latency.Curve {
			d.add("%.1f,%.1f ", x(p[0]), y(p[1]))
		}
		d.add(`"/>`)
	}
	return legend(names) + d.done()
}

func duration(micros float64) string {
	switch {
	case micros >= 1e6:
		return fmt.Sprintf("%g s", micros/1e6)
	case micros >= 1e3:
		return fmt.Sprintf("%g ms", micros/1e3)
	}
	return fmt.Sprintf("%g µs", micros)
}

// kinds are what the parts of a bill are shown as.
var kinds = []struct {
	name  string
	parts []string
}{
	{"connect", []string{"prepare", "connect", "accept"}},
	{"TLS", []string{"handshake", "finish"}},
	{"on the way, and waking", []string{"send", "there", "back"}},
	{"HTTP", []string{"parse", "route", "answer", "read", "read body", "in between"}},
	{"app", []string{"app"}},
	{"unaccounted", nil},
}

func kindOf(part string) int {
	for i, k := range kinds {
		for _, p := range k.parts {
			if p == part {
				return i
			}
		}
	}
	return len(kinds) - 1
}

// drawBills is a bar for each bill, in which each hop is a stack of its parts.
func drawBills(cells []bench.Cell) template.HTML {
	const left, width, rowHeight = 20, 870, 62
	var names []string
	for _, k := range kinds {
		names = append(names, k.name)
	}
	most, rows := 0.0, 0
	for _, c := range cells {
		if billed(c) {
			most, rows = max(most, c.Bill.Total.Value), rows+1
		}
	}
	if rows == 0 {
		return "<p>Nothing was taken apart.</p>"
	}
	d := newDrawing(left+width+20, float64(rows*rowHeight))
	y := 0.0
	for _, c := range cells {
		if !billed(c) {
			continue
		}
		d.text(left, y+14, "start", "", fmt.Sprintf("%s: %s", c.Name, duration(math.Round(c.Bill.Total.Value))))
		x := float64(left)
		put := func(what string, kind int, v float64) {
			w := width * max(v, 0) / most
			d.bar(x, y+20, w, 24, colour(kind), fmt.Sprintf("%s: %s", what, duration(math.Round(v))))
			x += w
		}
		for i, h := range c.Bill.Hops {
			from := x
			sums := make([]float64, len(kinds))
			for _, p := range h.Parts {
				sums[kindOf(p.Name)] += p.Micros.Value
			}
			for k, v := range sums {
				if v > 0 {
					put(fmt.Sprintf("hop %d, %s to %s: %s", i+1, h.From, h.To, kinds[k].name), k, v)
				}
			}
			d.line(x, y+18, x, y+56)
			if x-from > 40 {
				d.text((from+x)/2, y+57, "middle", "soft", fmt.Sprintf("hop %d", i+1))
			}
		}
		put("unaccounted", len(kinds)-1, c.Bill.Unaccounted.Value)
		y += rowHeight
	}
	return legend(names) + d.done()
}

// drawCPU is a group of bars for each node.
func drawCPU(cells []bench.Cell) template.HTML {
	const left, width, barHeight = 330, 520, 14
	cells = plain(cells)
	var nodes, names []string
	most := 0.0
	use := map[string]map[string]float64{}
	for _, c := range cells {
		names = append(names, c.Name)
		for _, u := range c.CPU {
			if use[u.Node] == nil {
				use[u.Node] = map[string]float64{}
				nodes = append(nodes, u.Node)
			}
			use[u.Node][c.Name] = u.CPU.Value
			most = max(most, u.CPU.Value)
		}
	}
	if most == 0 {
		return "<p>The system does not account for it.</p>"
	}
	group := float64(len(cells)*barHeight + 14)
	d := newDrawing(left+width+80, group*float64(len(nodes)))
	for i, node := range nodes {
		y := float64(i) * group
		d.text(left-8, y+group/2, "end", "", node)
		for k, c := range cells {
			v, ok := use[node][c.Name]
			if !ok {
				continue
			}
			w := width * v / most
			d.bar(left, y+float64(k*barHeight), w, barHeight-2, colour(k), fmt.Sprintf("%s, %s: %.0f µs", node, c.Name, v))
			d.text(left+w+5, y+float64(k*barHeight)+10, "start", "soft", fmt.Sprintf("%.0f", v))
		}
	}
	return legend(names) + d.done()
}

// drawFit is a chain's line and its points.
func drawFit(f bench.Fit) template.HTML {
	const left, top, width, height = 70, 10, 620, 240
	last := float64(f.Points[len(f.Points)-1].Length)
	most := max(f.Micros.At(last), f.CPU.At(last))
	for _, p := range f.Points {
		most = max(most, p.Micros.Value, p.CPU.Value)
	}
	x := func(n float64) float64 { return left + width*n/max(last, 1) }
	y := func(v float64) float64 { return top + height - height*v/most }
	d := newDrawing(left+width+20, top+height+30)
	for _, p := range f.Points {
		d.text(x(float64(p.Length)), top+height+18, "middle", "soft", fmt.Sprint(p.Length))
	}
	for i := range 5 {
		v := most * float64(i) / 4
		d.line(left, y(v), left+width, y(v))
		d.text(left-8, y(v)+4, "end", "soft", duration(math.Round(v)))
	}
	for i, l := range []struct {
		at    func(float64) float64
		value func(bench.FitPoint) float64
	}{
		{f.Micros.At, func(p bench.FitPoint) float64 { return p.Micros.Value }},
		{f.CPU.At, func(p bench.FitPoint) float64 { return p.CPU.Value }},
	} {
		d.add(`<polyline class="curve" stroke="%s" points="%.1f,%.1f %.1f,%.1f"/>`, colour(i), x(0), y(max(l.at(0), 0)), x(last), y(l.at(last)))
		for _, p := range f.Points {
			d.add(`<circle cx="%.1f" cy="%.1f" r="4" fill="%s"><title>%d hops: %.0f µs</title></circle>`, x(float64(p.Length)), y(l.value(p)), colour(i), p.Length, l.value(p))
		}
	}
	return legend([]string{"end to end", "CPU of all"}) + d.done()
}
