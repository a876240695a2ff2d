"""Two dates of one person: registered halfway, compared on maps and on intensities, every finding followed."""
