"""Read questions through a recipe's query, images within limits and reviews; draw scenes for a demo.

In: files of any origin. Out: Question records, decoded images, reviews."""
