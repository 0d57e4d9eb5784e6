/** Which image a form means, of those that there are. */

import type { ChoicesQuery } from '../../gql/graphql'
import type { Form } from './form'

export type Image = ChoicesQuery['images']['nodes'][number]
export type Selection = { languages: string[]; language: string; versions: Image[]; image?: Image }

/** What was chosen where it still exists, else the first that does. */
export function select(images: Image[], form: Pick<Form, 'language' | 'imageId'>): Selection {
  const languages = [...new Set(images.map((image) => image.language))].sort()
  const language = languages.includes(form.language) ? form.language : (languages[0] ?? '')
  const versions = images.filter((image) => image.language === language)
  const image = versions.find((one) => one.id === form.imageId) ?? versions[0]
  return { languages, language, versions, image }
}
