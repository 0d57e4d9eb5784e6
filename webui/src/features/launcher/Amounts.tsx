import { NumberInput, SegmentedControl, SimpleGrid, Slider, Stack, Text } from '@mantine/core'
import { useTranslation } from 'react-i18next'
import { type Form, SIZES, type Size, sizeOf } from './form'

type Props = {
  form: Form
  onChange: (change: Partial<Form>) => void
  /** CPU cores and GiB of the largest node. */
  most: { cpu: number; memory: number }
}

/** How much of the cluster it gets: a size, or any amounts. */
export function Amounts({ form, onChange, most }: Props) {
  const { t } = useTranslation()
  return (
    <Stack gap="sm">
      <div>
        <Text size="sm" fw={500} mb={4} id="size-label">
          {t('launcher.size')}
        </Text>
        <SegmentedControl
          aria-labelledby="size-label"
          fullWidth
          value={sizeOf(form)}
          onChange={(value) => {
            const size = value as Size
            if (size !== 'custom') onChange({ cpu: SIZES[size][0], memory: SIZES[size][1] })
          }}
          data={(['small', 'medium', 'large', 'custom'] as const).map((size) => ({
            value: size,
            label: t(`launcher.${size}`),
            disabled: size === 'custom' && sizeOf(form) !== 'custom',
          }))}
        />
      </div>
      <SimpleGrid cols={{ base: 1, xs: 2 }} spacing="lg">
        {(['cpu', 'memory'] as const).map((field) => (
          <div key={field}>
            <NumberInput
              label={t(`launcher.${field}`)}
              value={form[field]}
              onChange={(value) => onChange({ [field]: Number(value) || 0 })}
              min={0.1}
              step={0.5}
              decimalScale={2}
              clampBehavior="blur"
            />
            <Slider
              mt="sm"
              size="sm"
              thumbLabel={t(`launcher.${field}`)}
              label={null}
              value={form[field]}
              onChange={(value) => onChange({ [field]: value })}
              min={0.25}
              step={0.25}
              max={Math.max(most[field], 1)}
            />
          </div>
        ))}
      </SimpleGrid>
    </Stack>
  )
}
