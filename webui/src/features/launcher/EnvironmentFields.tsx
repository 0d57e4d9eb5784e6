import { Select } from '@mantine/core'
import { useTranslation } from 'react-i18next'
import type { Form } from './form'
import type { Selection } from './selection'

type Props = { selection: Selection; onChange: (change: Partial<Form>) => void }

/** Which image the session starts from: an environment, and a version of it. */
export function EnvironmentFields({ selection, onChange }: Props) {
  const { t } = useTranslation()
  const { languages, language, versions, image } = selection
  return (
    <>
      <Select
        label={t('launcher.environment')}
        data={languages}
        value={language || null}
        onChange={(chosen) => onChange({ language: chosen ?? '', imageId: '' })}
        allowDeselect={false}
      />
      <Select
        label={t('launcher.version')}
        data={versions.map((one) => ({
          value: one.id,
          label: `${one.version} · ${one.installed ? t('launcher.installed') : t('launcher.pull')}`,
        }))}
        value={image?.id ?? null}
        onChange={(imageId) => onChange({ imageId: imageId ?? '' })}
        allowDeselect={false}
      />
    </>
  )
}
